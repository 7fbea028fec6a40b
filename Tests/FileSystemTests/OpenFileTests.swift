import BlockCacheTestSupport
import Namespace
import S3
import SystemPackage
import TestSupport
import Testing
import Threads

@testable import FileSystem

private let kib: UInt64 = 1024
private let mib: UInt64 = 1024 * 1024

@Suite struct OpenFileTests {
    private func gets(_ f: Fixture) -> [Range<UInt64>] {
        f.store.log.filter { $0.operation == .get }.compactMap(\.range)
    }

    @Test func aSmallFileIsOneRequestThatOpenSends() throws {
        let f = Fixture()
        f.store.put("a", .generated(size: 100 * kib, seed: 1))
        let inode = try f.lookup("a").get()
        f.store.clearLog()
        let file = try f.open(inode).get()
        #expect(gets(f) == [0..<100 * kib])
        #expect(f.store.counts.heads == 0, "nothing is asked between a fresh listing and the GET")
        #expect(f.read(file, 0, 200_000) == bytes(0..<100 * kib, size: 100 * kib, seed: 1))
        #expect(f.read(file, 100 * kib, 1) == .bytes([]))
        #expect(f.store.counts.gets == 1)
        file.close()
        #expect(f.isAtRest)
    }

    /// What one identity fetched is not shown to another, in files that are open or opened later; nor the other way.
    @Test func aChangedScopeReadsNothingOfTheOneBefore() throws {
        for size in [100 * kib, 20 * mib] {
            let f = Fixture()
            f.store.put("a", .generated(size: size, seed: 1))
            let file = try f.open("a").get()
            func first() -> Reader.Answer? { f.read(file, 0, 4096) }
            let expected = bytes(0..<4096, size: size, seed: 1)
            #expect(first() == expected)
            f.store.clearLog()
            #expect(first() == expected)
            #expect(gets(f).isEmpty)
            f.fileSystem.changeScope("other")
            #expect(first() == expected)
            #expect(!gets(f).isEmpty)
            f.store.clearLog()
            #expect(first() == expected)
            #expect(gets(f).allSatisfy { $0.lowerBound > 0 }, "only what is read ahead")
            let second = try f.open("a").get()
            f.store.clearLog()
            #expect(f.read(second, 0, 4096) == expected)
            #expect(gets(f).allSatisfy { $0.lowerBound > 0 })
            f.fileSystem.changeScope("s")
            f.store.clearLog()
            #expect(f.read(second, 0, 4096) == expected)
            file.close()
            second.close()
            f.settle()
            #expect(f.isAtRest)
        }
    }

    @Test func anEmptyFileAsksNothing() throws {
        let f = Fixture()
        f.store.put("a", "")
        let file = try f.open("a").get()
        #expect(f.read(file, 0, 4096) == .bytes([]))
        #expect(f.store.counts.gets == 0)
        file.close()
    }

    @Test func aFileOpenedAgainIsLeftToThePageCacheUnlessItIsRead() throws {
        let f = Fixture(memory: 16 << 20)
        f.store.put("a", .generated(size: 100 * kib, seed: 1))
        let first = try f.open("a").get()
        #expect(!first.keepPageCache)
        first.close()
        f.store.put("big", .generated(size: 64 * mib, seed: 2))
        let big = try f.open("big").get()
        for i in 0..<64 { _ = f.read(big, UInt64(i) * mib, Int(mib)) }
        for i in 0..<64 { _ = f.read(big, UInt64(63 - i) * mib, Int(mib)) }
        big.close()
        f.store.clearLog()
        let second = try f.open("a").get()
        #expect(second.keepPageCache)
        #expect(f.store.counts.gets == 0)
        #expect(f.read(second, 0, 1000) == bytes(0..<1000, size: 100 * kib, seed: 1))
        second.close()
    }

    @Test func aSequentialReaderFetchesEachByteOnceInParts() throws {
        let f = Fixture(memory: 256 << 20)
        let size = 100 * mib + 12_345
        f.store.put("a", .generated(size: size, seed: 1))
        let file = try f.open("a").get()
        var at: UInt64 = 0
        while at < size {
            let end = min(size, at + mib)
            #expect(f.read(file, at, Int(mib)) == bytes(at..<end, size: size, seed: 1))
            at = end
        }
        #expect(f.store.counts.bytes == size)
        #expect(gets(f).allSatisfy { $0.count <= Int(8 * mib) })
        #expect(f.store.counts.gets <= 102)
        file.close()
        #expect(f.isAtRest)
    }

    @Test func manyHandlesOfOneFileFetchItOnce() throws {
        let f = Fixture()
        let size = 16 * mib
        f.store.put("a", .generated(size: size, seed: 1))
        let files = try (0..<64).map { _ in try f.open("a").get() }
        for at in stride(from: 0, to: size, by: Int(mib)) {
            for file in files { #expect(f.read(file, at, Int(mib)) == bytes(at..<at + mib, size: size, seed: 1)) }
        }
        #expect(f.store.counts.bytes == size)
        for file in files { file.close() }
        #expect(f.isAtRest)
    }

    @Test func randomReadsFetchWhatIsRead() throws {
        var random = Seeded(Seeded.seed)
        let f = Fixture()
        let size = 64 << 30 as UInt64
        f.store.put("a", .generated(size: size, seed: 1))
        let file = try f.open("a").get()
        for _ in 0..<200 {
            let at = UInt64.random(in: 0..<size / (128 * kib), using: &random) * 128 * kib
            #expect(f.read(file, at, Int(128 * kib)) == bytes(at..<at + 128 * kib, size: size, seed: 1))
        }
        #expect(f.store.counts.bytes <= 200 * 128 * kib * 105 / 100, "\(Seeded.hint)")
        file.close()
        #expect(f.isAtRest)
    }

    @Test func closingGivesUpWhatIsReadAhead() throws {
        let f = Fixture(memory: 256 << 20)
        f.store.chunkBytes = 64 << 10
        f.store.put("a", .generated(size: 512 * mib, seed: 1))
        let file = try f.open("a").get()
        for i in 0..<8 {
            let reader = Reader()
            file.read(offset: UInt64(i) * mib, count: Int(mib), reader)
            while reader.answer == nil, f.store.step() {}
        }
        file.close()
        f.store.run()
        #expect(f.store.counts.bytes < 100 * mib)
        #expect(f.store.counts.cancelled > 0)
        #expect(f.isAtRest)
        #expect(f.cache.usage.aheadBytes == 0)
    }

    @Test func filesInTheirDirectorysOrderAreFetchedBeforeTheyAreOpened() throws {
        let f = Fixture()
        for i in 1000..<1200 { f.store.put("d/\(i)", .generated(size: 100_000, seed: UInt64(i))) }
        let directory = try f.lookup("d").get()
        var late = 0
        for i in 1000..<1200 {
            let inode = try f.lookup("\(i)", in: directory).get()
            let before = f.store.counts.gets
            let file = try f.open(inode).get()
            let isEarly = f.store.log.filter { $0.operation == .get }.prefix(before).contains {
                $0.key == ObjectKey("d/\(i)")
            }
            if !isEarly { late += 1 }
            #expect(f.read(file, 0, 100_000) == bytes(0..<100_000, size: 100_000, seed: UInt64(i)))
            file.close()
        }
        // The first three each bring a listing, and three more make an order.
        #expect(late <= 7)
        #expect(f.store.counts.gets == 200)
        #expect(f.isAtRest)
    }

    @Test func aReplacedFileIsStaleAndItsNextOpenIsNew() throws {
        let f = Fixture()
        let size = 32 * mib
        f.store.put("a", .generated(size: size, seed: 1))
        let told = Locked<[InodeNumber]>([])
        f.fileSystem.onStale = { inode in told.withLock { $0.append(inode) } }
        let old = try f.open("a").get()
        #expect(f.read(old, 0, 1000) == bytes(0..<1000, size: size, seed: 1))
        f.store.put("a", .generated(size: size, seed: 2))
        #expect(f.read(old, 20 * mib, 1000) == .failed(.staleNFSFileHandle))
        #expect(f.read(old, 0, 1000) == .failed(.staleNFSFileHandle))
        #expect(told.withLock { $0 } == [old.inode])
        let new = try f.open("a").get()
        #expect(!new.keepPageCache)
        #expect(f.read(new, 20 * mib, 1000) == bytes(20 * mib..<20 * mib + 1000, size: size, seed: 2))
        old.close()
        new.close()
        #expect(f.isAtRest)
    }

    @Test func anArchivedFileCannotBeOpened() throws {
        let f = Fixture()
        var object = StoredObject(.text("cold"))
        object.storageClass = "GLACIER"
        f.store.put(ObjectKey("a"), object)
        guard case .failure(let errno) = f.open("a") else {
            Issue.record("it was opened")
            return
        }
        #expect(errno == .permissionDenied)
    }

    @Test func attributesOfS3AreThere() throws {
        let f = Fixture()
        var object = StoredObject(.text("hello"))
        object.contentType = "text/plain"
        f.store.put(ObjectKey("d/a"), object)
        let directory = try f.lookup("d").get()
        let inode = try f.lookup("a", in: directory).get()
        func value(_ name: String) -> Result<[UInt8], Errno> {
            f.result { f.fileSystem.extendedAttribute(inode, name: name, $0) }
        }
        #expect(value("user.s3.etag") == .success(Array(object.etag.utf8)))
        #expect(value("user.s3.key") == .success(Array("d/a".utf8)))
        #expect(value("user.s3.content-type") == .success(Array("text/plain".utf8)))
        #expect(value("user.s3.storage-class") == .success(Array("STANDARD".utf8)))
        #expect(value("user.other") == .failure(.init(rawValue: 61)))
        let names: Result<[String], Errno> = f.result { f.fileSystem.extendedAttributeNames(inode, $0) }
        #expect(names.map(\.count) == .success(4))
        let none: Result<[String], Errno> = f.result { f.fileSystem.extendedAttributeNames(directory, $0) }
        #expect(none == .success([]))
    }

    /// Eight readers, each with a few MiB of memory: all get on, and nothing that was read ahead is fetched again.
    @Test func readersWhoShareLittleMemoryAllGetOn() throws {
        let f = Fixture(.threads(2), memory: 16 << 20)
        let size = 24 * mib
        for i in 0..<8 { f.store.put("f\(i)", .generated(size: size, seed: UInt64(i))) }
        let wrong = Locked(0)
        let files = try (0..<8).map { try f.open("f\($0)").get() }
        let threads = files.enumerated().map { (i, file) in
            Thread("reader-\(i)") {
                for at in stride(from: 0, to: size, by: 256 << 10) {
                    let end = min(size, at + 256 * kib)
                    if f.read(file, at, Int(256 * kib)) != bytes(at..<end, size: size, seed: UInt64(i)) {
                        wrong.withLock { $0 += 1 }
                    }
                }
            }
        }
        for thread in threads { thread.join() }
        #expect(wrong.withLock { $0 } == 0)
        #expect(f.store.counts.bytes <= 8 * size * 105 / 100)
        for file in files { file.close() }
        let deadline = Instant.now.advanced(byMs: 30_000)
        while !f.isAtRest, .now < deadline { _ = Reader().answer }
        #expect(f.isAtRest)
        f.store.stop()
    }
}
