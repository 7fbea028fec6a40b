import S3
import TestSupport
import Testing

@testable import BlockCache

/// A cache of 16 MiB, 256 slots: what happens when that is too little.
@Suite struct MemoryPressureTests {
    @Test func theBudgetIsNeverExceeded() {
        let f = Fixture()
        let object = f.object("a", size: 64 * mib)
        for offset in stride(from: 0, to: 64 * mib, by: mib) {
            let reader = f.read(object, offset, mib, isSequential: true)
            f.store.run()
            #expect(reader.answer == Fixture.bytes(offset, mib))
            #expect(f.cache.usage.heldBytes <= 16 * mib)
        }
        object.release()
        #expect(f.isAtRest)
    }

    @Test func consumedBytesGiveWayBeforeOthers() {
        let f = Fixture()
        let small = f.object("small", size: mib)
        let kept = f.read(small, 0, mib)
        let big = f.object("big", size: 64 * mib, seed: 2)
        f.store.run()
        #expect(kept.answer == Fixture.bytes(0, mib))
        for offset in stride(from: 0, to: 64 * mib, by: mib) {
            _ = f.read(big, offset, mib, isSequential: true)
            f.store.run()
        }
        f.store.clearLog()
        #expect(f.read(small, 0, mib).answer == Fixture.bytes(0, mib))
        #expect(f.store.counts.gets == 0)
        small.release()
        big.release()
    }

    @Test func readersWhoFindNoMemoryWaitForItInTheirOrder() {
        let f = Fixture()
        let object = f.object("a", size: 64 * mib)
        let readers = (0..<10).map { f.read(object, $0 * 4 * mib, 4 * mib) }
        #expect(f.cache.usage.queuedReadCount == 6)
        #expect(f.cache.usage.heldBytes == 16 * mib)
        f.store.run()
        for (i, reader) in readers.enumerated() { #expect(reader.answer == Fixture.bytes(i * 4 * mib, 4 * mib)) }
        object.release()
        #expect(f.isAtRest)
    }

    @Test func aFailedFetchLetsTheQueueGoOn() {
        let f = Fixture()
        let object = f.object("a", size: 64 * mib)
        f.store.inject(MemoryFault(.fail(.timedOut), on: .get, count: 4))
        let readers = (0..<6).map { f.read(object, $0 * 4 * mib, 4 * mib) }
        f.store.run()
        for reader in readers[..<4] { #expect(reader.answer == .failed(.ioError)) }
        for (i, reader) in readers.enumerated().dropFirst(4) {
            #expect(reader.answer == Fixture.bytes(i * 4 * mib, 4 * mib))
        }
        object.release()
        #expect(f.isAtRest)
    }

    @Test func readAheadLeavesRoomAndIsNotEvictedByMoreOfIt() {
        let f = Fixture()
        let object = f.object("a", size: 64 * mib)
        let end = object.prefetch(0..<UInt64(64 * mib), partBytes: 1 * mib, priority: .readAhead)
        #expect(end == UInt64(12 * mib))
        f.store.run()
        #expect(f.cache.usage.aheadBytes == 12 * mib)
        // A quarter is left for demand, which doesn't touch what is still to be read.
        for i in 0..<16 {
            let reader = f.read(object, 40 * mib + i * mib, mib)
            f.store.run()
            #expect(reader.answer == Fixture.bytes(40 * mib + i * mib, mib))
        }
        f.store.clearLog()
        for i in 0..<12 {
            #expect(f.read(object, i * mib, mib, isSequential: true).answer == Fixture.bytes(i * mib, mib))
        }
        #expect(f.store.counts.gets == 0)
        #expect(f.cache.usage.aheadBytes == 0)
        object.release()
    }

    @Test func whatIsReadMakesRoomForMoreReadAhead() {
        let f = Fixture()
        let object = f.object("a", size: 64 * mib)
        var asked = object.prefetch(0..<UInt64(64 * mib), partBytes: mib, priority: .readAhead)
        f.store.run()
        for i in 0..<64 {
            #expect(f.read(object, i * mib, mib, isSequential: true).answer == Fixture.bytes(i * mib, mib), "\(i)")
            if asked < UInt64(64 * mib) {
                let end = object.prefetch(asked..<UInt64(64 * mib), partBytes: mib, priority: .readAhead)
                #expect(end > asked)
                asked = end
                f.store.run()
            }
        }
        #expect(f.store.counts.bytes == UInt64(64 * mib))
        object.release()
        #expect(f.isAtRest)
    }

    @Test func abandonedReadAheadGivesWay() {
        let f = Fixture()
        let object = f.object("a", size: 64 * mib)
        object.prefetch(0..<UInt64(12 * mib), partBytes: mib, priority: .readAhead)
        f.store.run()
        #expect(
            object.prefetch(UInt64(20 * mib)..<UInt64(24 * mib), partBytes: mib, priority: .readAhead)
                == UInt64(20 * mib))
        object.abandon(0..<UInt64(12 * mib))
        #expect(
            object.prefetch(UInt64(20 * mib)..<UInt64(24 * mib), partBytes: mib, priority: .readAhead)
                == UInt64(24 * mib))
        f.store.run()
        object.release()
        #expect(f.isAtRest)
    }

    @Test func demandEvictsReadAheadOnlyWhenNothingElseIsLeft() {
        let f = Fixture()
        let object = f.object("a", size: 64 * mib)
        object.prefetch(0..<UInt64(12 * mib), partBytes: mib, priority: .readAhead)
        f.store.run()
        let readers = (0..<4).map { f.read(object, 32 * mib + $0 * 4 * mib, 4 * mib) }
        f.store.run()
        for (i, reader) in readers.enumerated() {
            #expect(reader.answer == Fixture.bytes(32 * mib + i * 4 * mib, 4 * mib))
        }
        object.release()
        #expect(f.isAtRest)
    }

    @Test func freeMemoryIsGivenBack() {
        let f = Fixture()
        let object = f.object("a", size: mib)
        f.store.inject(MemoryFault(.fail(.timedOut), on: .get))
        _ = f.read(object, 0, mib)
        f.store.run()
        #expect(f.cache.usage.heldBytes == 0)
        f.cache.releaseIdleMemory()
        let reader = f.read(object, 0, mib)
        f.store.run()
        #expect(reader.answer == Fixture.bytes(0, mib))
        object.release()
    }
}
