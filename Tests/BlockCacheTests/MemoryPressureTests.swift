import S3
import TestSupport
import Testing

@testable import BlockCache

/// A cache of 16 MiB, 256 slots: what happens when that is too little.
@Suite struct MemoryPressureTests {
    @Test func theBudgetIsNeverExceeded() {
        let f = Fixture()
        let object = f.object("a", size: 64 * MiB)
        for offset in stride(from: 0, to: 64 * MiB, by: MiB) {
            let reader = f.read(object, offset, MiB, isSequential: true)
            f.store.run()
            #expect(reader.answer == Fixture.bytes(offset, MiB))
            #expect(f.cache.usage.heldBytes <= 16 * MiB)
        }
        object.release()
        #expect(f.isAtRest)
    }

    @Test func consumedBytesGiveWayBeforeOthers() {
        let f = Fixture()
        let small = f.object("small", size: MiB)
        let kept = f.read(small, 0, MiB)
        let big = f.object("big", size: 64 * MiB, seed: 2)
        f.store.run()
        #expect(kept.answer == Fixture.bytes(0, MiB))
        for offset in stride(from: 0, to: 64 * MiB, by: MiB) {
            _ = f.read(big, offset, MiB, isSequential: true)
            f.store.run()
        }
        f.store.clearLog()
        #expect(f.read(small, 0, MiB).answer == Fixture.bytes(0, MiB))
        #expect(f.store.counts.gets == 0)
        small.release()
        big.release()
    }

    @Test func readersWhoFindNoMemoryWaitForItInTheirOrder() {
        let f = Fixture()
        let object = f.object("a", size: 64 * MiB)
        let readers = (0..<10).map { f.read(object, $0 * 4 * MiB, 4 * MiB) }
        #expect(f.cache.usage.queuedReadCount == 6)
        #expect(f.cache.usage.heldBytes == 16 * MiB)
        f.store.run()
        for (i, reader) in readers.enumerated() { #expect(reader.answer == Fixture.bytes(i * 4 * MiB, 4 * MiB)) }
        object.release()
        #expect(f.isAtRest)
    }

    @Test func aFailedFetchLetsTheQueueGoOn() {
        let f = Fixture()
        let object = f.object("a", size: 64 * MiB)
        f.store.inject(MemoryFault(.fail(.timedOut), on: .get, count: 4))
        let readers = (0..<6).map { f.read(object, $0 * 4 * MiB, 4 * MiB) }
        f.store.run()
        for reader in readers[..<4] { #expect(reader.answer == .failed(.ioError)) }
        for (i, reader) in readers.enumerated().dropFirst(4) {
            #expect(reader.answer == Fixture.bytes(i * 4 * MiB, 4 * MiB))
        }
        object.release()
        #expect(f.isAtRest)
    }

    @Test func readAheadLeavesRoomAndIsNotEvictedByMoreOfIt() {
        let f = Fixture()
        let object = f.object("a", size: 64 * MiB)
        let end = object.prefetch(0..<UInt64(64 * MiB), partBytes: 1 * MiB, priority: .readAhead)
        #expect(end == UInt64(12 * MiB))
        f.store.run()
        #expect(f.cache.usage.aheadBytes == 12 * MiB)
        // A quarter is left for demand, which doesn't touch what is still to be read.
        for i in 0..<16 {
            let reader = f.read(object, 40 * MiB + i * MiB, MiB)
            f.store.run()
            #expect(reader.answer == Fixture.bytes(40 * MiB + i * MiB, MiB))
        }
        f.store.clearLog()
        for i in 0..<12 {
            #expect(f.read(object, i * MiB, MiB, isSequential: true).answer == Fixture.bytes(i * MiB, MiB))
        }
        #expect(f.store.counts.gets == 0)
        #expect(f.cache.usage.aheadBytes == 0)
        object.release()
    }

    @Test func whatIsReadMakesRoomForMoreReadAhead() {
        let f = Fixture()
        let object = f.object("a", size: 64 * MiB)
        var asked = object.prefetch(0..<UInt64(64 * MiB), partBytes: MiB, priority: .readAhead)
        f.store.run()
        for i in 0..<64 {
            #expect(f.read(object, i * MiB, MiB, isSequential: true).answer == Fixture.bytes(i * MiB, MiB), "\(i)")
            if asked < UInt64(64 * MiB) {
                let end = object.prefetch(asked..<UInt64(64 * MiB), partBytes: MiB, priority: .readAhead)
                #expect(end > asked)
                asked = end
                f.store.run()
            }
        }
        #expect(f.store.counts.bytes == UInt64(64 * MiB))
        object.release()
        #expect(f.isAtRest)
    }

    @Test func abandonedReadAheadGivesWay() {
        let f = Fixture()
        let object = f.object("a", size: 64 * MiB)
        object.prefetch(0..<UInt64(12 * MiB), partBytes: MiB, priority: .readAhead)
        f.store.run()
        #expect(
            object.prefetch(UInt64(20 * MiB)..<UInt64(24 * MiB), partBytes: MiB, priority: .readAhead)
                == UInt64(20 * MiB))
        object.abandon(0..<UInt64(12 * MiB))
        #expect(
            object.prefetch(UInt64(20 * MiB)..<UInt64(24 * MiB), partBytes: MiB, priority: .readAhead)
                == UInt64(24 * MiB))
        f.store.run()
        object.release()
        #expect(f.isAtRest)
    }

    @Test func demandEvictsReadAheadOnlyWhenNothingElseIsLeft() {
        let f = Fixture()
        let object = f.object("a", size: 64 * MiB)
        object.prefetch(0..<UInt64(12 * MiB), partBytes: MiB, priority: .readAhead)
        f.store.run()
        let readers = (0..<4).map { f.read(object, 32 * MiB + $0 * 4 * MiB, 4 * MiB) }
        f.store.run()
        for (i, reader) in readers.enumerated() {
            #expect(reader.answer == Fixture.bytes(32 * MiB + i * 4 * MiB, 4 * MiB))
        }
        object.release()
        #expect(f.isAtRest)
    }

    @Test func freeMemoryIsGivenBack() {
        let f = Fixture()
        let object = f.object("a", size: MiB)
        f.store.inject(MemoryFault(.fail(.timedOut), on: .get))
        _ = f.read(object, 0, MiB)
        f.store.run()
        #expect(f.cache.usage.heldBytes == 0)
        f.cache.releaseIdleMemory()
        let reader = f.read(object, 0, MiB)
        f.store.run()
        #expect(reader.answer == Fixture.bytes(0, MiB))
        object.release()
    }
}
