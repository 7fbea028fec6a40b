import BlockCacheTestSupport
import Glibc
import Logging
import PrometheusMetrics
import S3
import TestSupport
import Testing
import Threads

@testable import BlockCache

/// Memory and disk together: what S3 sent is read from the disk by the next engine.
@Suite(.serialized) struct DiskBackedTests {
    private static let size = 5 * mib + 1234

    private func key(_ store: MemoryStore) -> FileVersionKey {
        diskKey("a", size: Self.size, etag: store.object("a")!.etag)
    }

    /// One engine's life: opens the object, does something, and writes what it has queued.
    private func engine(_ fixture: DiskFixture, _ store: MemoryStore, _ body: (CachedObject) throws -> Void) throws {
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let disk = try fixture.open()
        let cache = BlockCache(memoryBytes: 16 * mib, disk: disk, metrics: Registry(), logger: logger)
        let object = cache.open(key(store), store: store)
        try body(object)
        object.release()
        #expect(
            eventually { cache.usage.fetchingCount == 0 && cache.usage.pinCount == 0 && cache.usage.openCount == 0 })
        disk.close()
    }

    private func read(_ object: CachedObject, _ offset: Int, _ count: Int) -> Reader.Answer? {
        let reader = Reader()
        object.read(UInt64(offset)..<UInt64(offset + count), isSequential: false, reader)
        return reader.wait()
    }

    private func readAll(_ object: CachedObject) {
        for offset in stride(from: 0, to: Self.size, by: mib) {
            let count = min(mib, Self.size - offset)
            #expect(read(object, offset, count) == Fixture.bytes(offset, count), "\(offset)")
        }
    }

    /// A directory that has the whole object, and the bucket that it came from.
    private func filled() throws -> (DiskFixture, MemoryStore) {
        let fixture = DiskFixture()
        let store = MemoryStore(.threads(1))
        store.put("a", .generated(size: UInt64(Self.size), seed: 1))
        try engine(fixture, store) { object in
            readAll(object)
            #expect(eventually { object.completeFile() != nil })
        }
        return (fixture, store)
    }

    @Test func theNextEngineReadsFromTheDisk() throws {
        let (fixture, store) = try filled()
        #expect(store.counts.bytes == UInt64(Self.size))
        store.clearLog()
        try engine(fixture, store) { object in
            readAll(object)
            object.prefetch(0..<UInt64(Self.size), partBytes: mib, priority: .readAhead)
            let file = try #require(object.completeFile())
            var bytes = [UInt8](repeating: 0, count: 1000)
            #expect(pread(file.rawValue, &bytes, 1000, 3_000_000) == 1000)
            #expect(.bytes(bytes) == Fixture.bytes(3_000_000, 1000))
        }
        #expect(store.counts.gets == 0)
        store.stop()
    }

    @Test func readAheadComesFromTheDiskToo() throws {
        let (fixture, store) = try filled()
        store.clearLog()
        try engine(fixture, store) { object in
            object.prefetch(0..<UInt64(Self.size), partBytes: mib, priority: .readAhead)
            readAll(object)
        }
        #expect(store.counts.gets == 0)
        store.stop()
    }

    @Test func aDamagedBlockIsFetchedAgain() throws {
        let (fixture, store) = try filled()
        fixture.flip(key(store).dataName, at: 70_000)
        store.clearLog()
        try engine(fixture, store) { readAll($0) }
        #expect(store.counts.gets > 0)
        #expect(store.counts.bytes <= UInt64(mib))
        store.stop()
    }
}
