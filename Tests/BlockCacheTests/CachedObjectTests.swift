import BlockCacheTestSupport
import S3
import SystemPackage
import TestSupport
import Testing

@testable import BlockCache

@Suite struct CachedObjectTests {
    @Test func aMissFetchesJustItsBlocksAndAHitAsksNobody() {
        let f = Fixture()
        let object = f.object("a", size: 10 * mib)
        let miss = f.read(object, 3 * mib, 128 * kib)
        #expect(miss.answer == nil)
        f.store.run()
        #expect(miss.answer == Fixture.bytes(3 * mib, 128 * kib))
        #expect(f.store.log.map(\.range) == [UInt64(3 * mib)..<UInt64(3 * mib + 128 * kib)])
        let hit = f.read(object, 3 * mib + 100, 1000)
        #expect(hit.answer == Fixture.bytes(3 * mib + 100, 1000))
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
        let object = f.object("a", size: 4 * mib)
        let readers = (0..<64).map { i in (i, f.read(object, (i % 4) * 512 * kib, 1 * mib)) }
        f.store.run()
        for (i, reader) in readers {
            #expect(reader.answer == Fixture.bytes((i % 4) * 512 * kib, 1 * mib))
            #expect(reader.answerCount == 1)
        }
        #expect(f.store.counts.bytes == UInt64(2 * mib + 512 * kib))
        object.release()
        #expect(f.isAtRest)
    }

    @Test func aWaitingReadIsAnsweredAsSoonAsItsBlocksAreThere() {
        let f = Fixture()
        f.store.chunkBytes = 64 * kib
        let object = f.object("a", size: 8 * mib)
        object.prefetch(0..<UInt64(8 * mib), partBytes: 8 * mib, priority: .readAhead)
        let reader = f.read(object, 100 * kib, 64 * kib)
        var steps = 0
        while reader.answer == nil, f.store.step() { steps += 1 }
        #expect(reader.answer == Fixture.bytes(100 * kib, 64 * kib))
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
        let object = f.object("a", size: 2 * mib)
        _ = f.read(object, 256 * kib, 64 * kib)
        _ = f.read(object, 512 * kib, 64 * kib)
        f.store.run()
        let reader = f.read(object, 0, 1 * mib)
        f.store.run()
        #expect(reader.answer == Fixture.bytes(0, 1 * mib))
        #expect(f.store.counts.bytes == UInt64(1 * mib))
        #expect(f.store.counts.gets == 5)
        object.release()
    }

    @Test func aFailureReachesThoseWhoWaitedAndNobodyElse() {
        let f = Fixture()
        f.store.chunkBytes = 64 * kib
        let object = f.object("a", size: 1 * mib)
        f.store.inject(MemoryFault(.failAfter(bytes: UInt64(256 * kib), .network("reset")), on: .get))
        let whole = f.read(object, 0, 1 * mib)
        let early = f.read(object, 0, 128 * kib)
        f.store.run()
        #expect(whole.answer == .failed(.ioError))
        #expect(early.answer == Fixture.bytes(0, 128 * kib))
        let again = f.read(object, 0, 1 * mib)
        f.store.run()
        #expect(again.answer == Fixture.bytes(0, 1 * mib))
        // What had arrived before the failure was kept.
        #expect(f.store.log.last?.range == UInt64(256 * kib)..<UInt64(1 * mib))
        object.release()
        #expect(f.isAtRest)
    }

    final class Watcher: ObjectObserver {
        let seen = Reader()
        func objectBecameStale() { seen.failed(.staleNFSFileHandle) }
    }

    @Test func aReplacedObjectIsStaleForItsHandlesAndNewForTheNext() {
        let f = Fixture()
        let object = f.object("a", size: 1 * mib)
        let watcher = Watcher()
        object.observe(watcher)
        let before = f.read(object, 0, 64 * kib)
        f.store.run()
        #expect(before.answer == Fixture.bytes(0, 64 * kib))
        let new = f.store.put("a", .generated(size: UInt64(1 * mib), seed: 2))
        let stale = f.read(object, 512 * kib, 64 * kib)
        f.store.run()
        #expect(stale.answer == .failed(.staleNFSFileHandle))
        #expect(watcher.seen.answerCount == 1)
        // Also what is cached: the handle must not go on in a mix of answers and errors.
        #expect(f.read(object, 0, 64 * kib).answer == .failed(.staleNFSFileHandle))
        let next = f.open("a", etag: new, size: 1 * mib)
        let read = f.read(next, 0, 64 * kib)
        f.store.run()
        #expect(read.answer == Fixture.bytes(0, 64 * kib, seed: 2))
        object.stopObserving(watcher)
        object.release()
        next.release()
        // The first version comes back: nothing remembers that it was gone.
        let back = f.object("a", size: 1 * mib)
        let once = f.read(back, 0, 64 * kib)
        f.store.run()
        #expect(once.answer == Fixture.bytes(0, 64 * kib))
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
        let object = f.object("a", size: 1 * mib)
        f.store.inject(MemoryFault(.fail(error), on: .get))
        let reader = f.read(object, 0, 1000)
        f.store.run()
        #expect(reader.answer == .failed(errno))
        object.release()
        #expect(f.isAtRest)
    }

    @Test func closingGivesUpReadAheadAndAReaderWhoComesBackIsServed() {
        let f = Fixture()
        f.store.chunkBytes = 64 * kib
        let object = f.object("a", size: 8 * mib)
        object.prefetch(0..<UInt64(8 * mib), partBytes: 4 * mib, priority: .readAhead)
        for _ in 0..<8 { f.store.step() }
        object.release()
        // Before the store has noticed that both were cancelled.
        let again = f.object("a", size: 8 * mib)
        let reader = f.read(again, 0, 8 * mib / 2)
        f.store.run()
        #expect(reader.answer == Fixture.bytes(0, 4 * mib))
        #expect(f.store.counts.cancelled == 2)
        again.release()
        #expect(f.isAtRest)
        #expect(f.cache.usage.aheadBytes <= 4 * mib)
    }

    @Test func aShortRestIsFetchedAllTheSame() {
        let f = Fixture()
        let object = f.object("a", size: 100 * kib)
        object.prefetch(0..<UInt64(100 * kib), partBytes: 8 * mib, priority: .readAhead)
        object.release()
        f.store.run()
        #expect(f.store.counts.cancelled == 0)
        let again = f.object("a", size: 100 * kib)
        #expect(f.read(again, 0, 100 * kib).answer == Fixture.bytes(0, 100 * kib))
        #expect(f.store.counts.gets == 1)
        again.release()
    }
}
