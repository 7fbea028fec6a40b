import BlockCacheTestSupport
import Glibc
import Logging
import PrometheusMetrics
import S3
import SystemPackage
import TestSupport
import Testing
import Threads

@testable import BlockCache

/// Warming up: from S3 to the disk, complete whatever else goes on.
@Suite(.serialized) struct WarmUpTests: @unchecked Sendable {
    private let fixture = DiskFixture()
    private let store = MemoryStore(.threads(2))

    private func cache(_ disk: DiskCache?) -> BlockCache {
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        return BlockCache(memoryBytes: 16 * mib, disk: disk, metrics: Registry(), logger: logger)
    }

    private func open(_ cache: BlockCache, _ name: String, size: Int) -> CachedObject {
        cache.open(
            FileVersionKey(
                scope: "s", bucket: "b", key: ObjectKey(name), etag: store.object(ObjectKey(name))!.etag,
                size: UInt64(size)),
            store: store)
    }

    private func warm(_ object: CachedObject, _ bytes: Range<Int>) -> Result<UInt64, Errno>? {
        let done = Promise<Result<UInt64, Errno>>()
        object.warmUp(UInt64(bytes.lowerBound)..<UInt64(bytes.upperBound), of: 0) { done.fulfil($0) }
        return done.wait(until: .now.advanced(byMs: 60_000))
    }

    @Test("V10: a warm-up through a tiny queue ends complete, and what is there costs nothing again")
    func aWarmUpEndsComplete() throws {
        let size = 9 * mib + 777
        store.put("a", .generated(size: UInt64(size), seed: 1))
        let disk = try fixture.open(queueBytes: 1 * mib)
        defer { disk.close() }
        let object = open(cache(disk), "a", size: size)
        #expect(object.diskBytes == 0)
        #expect(warm(object, 0..<size) == .success(UInt64(size)))
        #expect(object.completeFile() != nil)
        #expect(disk.metrics.droppedBlocks.value == 0)
        #expect(store.counts.bytes == UInt64(size))
        store.clearLog()
        #expect(warm(object, 0..<size) == .success(UInt64(size)))
        for offset in stride(from: 0, to: size, by: mib) {
            let reader = Reader()
            let count = min(mib, size - offset)
            object.read(UInt64(offset)..<UInt64(offset + count), isSequential: true, reader)
            #expect(reader.wait() == Fixture.bytes(offset, count), "\(offset)")
        }
        #expect(store.counts.gets == 0)
        object.release()
    }

    @Test func onlyWhatIsMissingIsFetched() throws {
        let size = 4 * mib
        store.put("a", .generated(size: UInt64(size), seed: 1))
        let disk = try fixture.open()
        defer { disk.close() }
        let object = open(cache(disk), "a", size: size)
        #expect(warm(object, mib..<2 * mib) == .success(UInt64(mib)))
        #expect(warm(object, 0..<size) == .success(UInt64(size)))
        #expect(store.counts.bytes == UInt64(size))
        object.release()
    }

    @Test func readersAndManyWarmUpsAtOnceEndComplete() throws {
        let disk = try fixture.open(queueBytes: 1 * mib)
        defer { disk.close() }
        let cache = cache(disk)
        let sizes = (0..<24).map { 1 + $0 * 123_457 }
        for (i, size) in sizes.enumerated() {
            store.put("\(i)", .generated(size: UInt64(size), seed: UInt64(i)))
        }
        let threads = (0..<8).map { n in
            Thread("warm-\(n)") {
                for (i, size) in sizes.enumerated() {
                    let object = open(cache, "\(i)", size: size)
                    if n % 2 == 0 {
                        _ = warm(object, 0..<size)
                    } else {
                        let reader = Reader()
                        object.read(0..<UInt64(min(size, 2 * mib)), isSequential: false, reader)
                        _ = reader.wait()
                    }
                    object.release()
                }
            }
        }
        for thread in threads { thread.join() }
        for (i, size) in sizes.enumerated() {
            let object = open(cache, "\(i)", size: size)
            #expect(eventually { warm(object, 0..<size) == .success(UInt64(size)) }, "object \(i)")
            object.release()
        }
        #expect(eventually { cache.usage.fetchingCount == 0 && cache.usage.openCount == 0 })
    }

    @Test func aFailureIsToldAndTheRestCanBeHadLater() throws {
        let size = 3 * mib
        store.put("a", .generated(size: UInt64(size), seed: 1))
        let disk = try fixture.open()
        defer { disk.close() }
        let object = open(cache(disk), "a", size: size)
        store.inject(MemoryFault(.fail(.timedOut), on: .get))
        guard case .failure = warm(object, 0..<size) else {
            Issue.record("a failed GET is no success")
            return
        }
        #expect(warm(object, 0..<size) == .success(UInt64(size)))
        object.release()
    }

    @Test func aReplacedObjectIsStale() throws {
        store.put("a", .generated(size: UInt64(mib), seed: 1))
        let disk = try fixture.open()
        defer { disk.close() }
        let object = open(cache(disk), "a", size: mib)
        store.put("a", .generated(size: UInt64(mib), seed: 2))
        #expect(warm(object, 0..<mib) == .failure(.staleNFSFileHandle))
        object.release()
    }

    @Test func withoutADiskOrRoomItSaysSo() throws {
        store.put("a", .generated(size: UInt64(8 * mib), seed: 1))
        let object = open(cache(nil), "a", size: 8 * mib)
        #expect(warm(object, 0..<mib) == .failure(.notSupported))
        #expect(object.diskBytes == nil)
        object.release()
        let disk = try fixture.open(maxBytes: 4 * mib)
        defer { disk.close() }
        let large = open(cache(disk), "a", size: 8 * mib)
        #expect(warm(large, 0..<8 * mib) == .failure(.noSpace))
        large.release()
    }

    @Test func aStoppedCacheAnswersAll() throws {
        let size = 8 * mib
        store.latencyMs = 20
        store.put("a", .generated(size: UInt64(size), seed: 1))
        let disk = try fixture.open(queueBytes: 1 * mib)
        let object = open(cache(disk), "a", size: size)
        let done = Promise<Result<UInt64, Errno>>()
        object.warmUp(0..<UInt64(size), of: 0) { done.fulfil($0) }
        disk.close()
        #expect(done.wait(until: .now.advanced(byMs: 60_000)) != nil)
        object.release()
    }
}
