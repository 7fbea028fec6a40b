import S3
import SystemPackage
import TestSupport
import Testing

@testable import BlockCache

@Suite struct CachedObjectTests {
    @Test func aMissFetchesJustItsBlocksAndAHitAsksNobody() {
        let f = Fixture()
        let object = f.object("a", size: 10 * MiB)
        let miss = f.read(object, 3 * MiB, 128 * KiB)
        #expect(miss.answer == nil)
        f.store.run()
        #expect(miss.answer == Fixture.bytes(3 * MiB, 128 * KiB))
        #expect(f.store.log.map(\.range) == [UInt64(3 * MiB)..<UInt64(3 * MiB + 128 * KiB)])
        let hit = f.read(object, 3 * MiB + 100, 1000)
        #expect(hit.answer == Fixture.bytes(3 * MiB + 100, 1000))
        #expect(f.store.counts.gets == 1)
        object.release()
        #expect(f.isAtRest)
    }

    @Test(arguments: [1, 65535, 65536, 65537, 131072, 200_000])
    func readsAroundBlockBordersAreRight(size: Int) {
        let f = Fixture()
        let object = f.object("a", size: size)
        for offset in [0, 1, 65535, 65536, 65537, size - 1] where offset >= 0 && offset < size {
            for count in [1, 2, 65535, 65536, 65537, size - offset] where count > 0 && offset + count <= size {
                let reader = f.read(object, offset, count)
                f.store.run()
                #expect(reader.answer == Fixture.bytes(offset, count), "\(offset) \(count)")
            }
        }
        #expect(f.store.counts.bytes == UInt64(size))
        object.release()
    }

    @Test func manyReadersOfAColdObjectFetchItOnce() {
        let f = Fixture()
        let object = f.object("a", size: 4 * MiB)
        let readers = (0..<64).map { i in (i, f.read(object, (i % 4) * 512 * KiB, 1 * MiB)) }
        f.store.run()
        for (i, reader) in readers {
            #expect(reader.answer == Fixture.bytes((i % 4) * 512 * KiB, 1 * MiB))
            #expect(reader.answerCount == 1)
        }
        #expect(f.store.counts.bytes == UInt64(2 * MiB + 512 * KiB))
        object.release()
        #expect(f.isAtRest)
    }

    @Test func aWaitingReadIsAnsweredAsSoonAsItsBlocksAreThere() {
        let f = Fixture()
        f.store.chunkBytes = 64 * KiB
        let object = f.object("a", size: 8 * MiB)
        object.prefetch(0..<UInt64(8 * MiB), partBytes: 8 * MiB, priority: .readAhead)
        let reader = f.read(object, 100 * KiB, 64 * KiB)
        var steps = 0
        while reader.answer == nil, f.store.step() { steps += 1 }
        #expect(reader.answer == Fixture.bytes(100 * KiB, 64 * KiB))
        #expect(steps < 8)
        #expect(f.store.pending > 0)
        #expect(f.store.counts.gets == 1)
        #expect(f.store.counts.raised == 1)
        f.store.run()
        object.release()
        #expect(f.isAtRest)
    }

    @Test func aReadAcrossWhatIsThereFetchesOnlyTheRest() {
        let f = Fixture()
        let object = f.object("a", size: 2 * MiB)
        _ = f.read(object, 256 * KiB, 64 * KiB)
        _ = f.read(object, 512 * KiB, 64 * KiB)
        f.store.run()
        let reader = f.read(object, 0, 1 * MiB)
        f.store.run()
        #expect(reader.answer == Fixture.bytes(0, 1 * MiB))
        #expect(f.store.counts.bytes == UInt64(1 * MiB))
        #expect(f.store.counts.gets == 5)
        object.release()
    }

    @Test func aFailureReachesThoseWhoWaitedAndNobodyElse() {
        let f = Fixture()
        f.store.chunkBytes = 64 * KiB
        let object = f.object("a", size: 1 * MiB)
        f.store.inject(MemoryFault(.failAfter(bytes: UInt64(256 * KiB), .network("reset")), on: .get))
        let whole = f.read(object, 0, 1 * MiB)
        let early = f.read(object, 0, 128 * KiB)
        f.store.run()
        #expect(whole.answer == .failed(.ioError))
        #expect(early.answer == Fixture.bytes(0, 128 * KiB))
        let again = f.read(object, 0, 1 * MiB)
        f.store.run()
        #expect(again.answer == Fixture.bytes(0, 1 * MiB))
        // What had arrived before the failure was kept.
        #expect(f.store.log.last?.range == UInt64(256 * KiB)..<UInt64(1 * MiB))
        object.release()
        #expect(f.isAtRest)
    }

    final class Watcher: ObjectObserver {
        let seen = Reader()
        func objectBecameStale() { seen.failed(.staleNFSFileHandle) }
    }

    @Test func aReplacedObjectIsStaleForItsHandlesAndNewForTheNext() {
        let f = Fixture()
        let object = f.object("a", size: 1 * MiB)
        let watcher = Watcher()
        object.observe(watcher)
        let before = f.read(object, 0, 64 * KiB)
        f.store.run()
        #expect(before.answer == Fixture.bytes(0, 64 * KiB))
        let new = f.store.put("a", .generated(size: UInt64(1 * MiB), seed: 2))
        let stale = f.read(object, 512 * KiB, 64 * KiB)
        f.store.run()
        #expect(stale.answer == .failed(.staleNFSFileHandle))
        #expect(watcher.seen.answerCount == 1)
        // Also what is cached: the handle must not go on in a mix of answers and errors.
        #expect(f.read(object, 0, 64 * KiB).answer == .failed(.staleNFSFileHandle))
        let next = f.open("a", etag: new, size: 1 * MiB)
        let read = f.read(next, 0, 64 * KiB)
        f.store.run()
        #expect(read.answer == Fixture.bytes(0, 64 * KiB, seed: 2))
        object.stopObserving(watcher)
        object.release()
        next.release()
        // The first version comes back: nothing remembers that it was gone.
        let back = f.object("a", size: 1 * MiB)
        let once = f.read(back, 0, 64 * KiB)
        f.store.run()
        #expect(once.answer == Fixture.bytes(0, 64 * KiB))
        back.release()
        #expect(f.isAtRest)
    }

    @Test(arguments: [
        (S3Error.changed, Errno.staleNFSFileHandle), (.noSuchKey, .staleNFSFileHandle),
        (.denied(code: "AccessDenied", message: ""), .permissionDenied), (.archived, .permissionDenied),
        (.timedOut, .ioError), (.noSuchBucket, .ioError), (.badAnswer("range"), .ioError),
    ])
    func errorsOfS3BecomeTheRightErrno(error: S3Error, errno: Errno) {
        let f = Fixture()
        let object = f.object("a", size: 1 * MiB)
        f.store.inject(MemoryFault(.fail(error), on: .get))
        let reader = f.read(object, 0, 1000)
        f.store.run()
        #expect(reader.answer == .failed(errno))
        object.release()
        #expect(f.isAtRest)
    }

    @Test func closingGivesUpReadAheadAndAReaderWhoComesBackIsServed() {
        let f = Fixture()
        f.store.chunkBytes = 64 * KiB
        let object = f.object("a", size: 8 * MiB)
        object.prefetch(0..<UInt64(8 * MiB), partBytes: 4 * MiB, priority: .readAhead)
        for _ in 0..<8 { f.store.step() }
        object.release()
        // Before the store has noticed that both were cancelled.
        let again = f.object("a", size: 8 * MiB)
        let reader = f.read(again, 0, 8 * MiB / 2)
        f.store.run()
        #expect(reader.answer == Fixture.bytes(0, 4 * MiB))
        #expect(f.store.counts.cancelled == 2)
        again.release()
        #expect(f.isAtRest)
        #expect(f.cache.usage.aheadBytes <= 4 * MiB)
    }

    @Test func aShortRestIsFetchedAllTheSame() {
        let f = Fixture()
        let object = f.object("a", size: 100 * KiB)
        object.prefetch(0..<UInt64(100 * KiB), partBytes: 8 * MiB, priority: .readAhead)
        object.release()
        f.store.run()
        #expect(f.store.counts.cancelled == 0)
        let again = f.object("a", size: 100 * KiB)
        #expect(f.read(again, 0, 100 * KiB).answer == Fixture.bytes(0, 100 * KiB))
        #expect(f.store.counts.gets == 1)
        again.release()
    }
}
