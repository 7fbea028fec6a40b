import Namespace
import S3
import TestSupport
import Testing
import Threads

@testable import Manifests

@Suite struct FlatListingTests {
    private func listed(_ store: any ObjectStore, _ prefix: String = "") throws -> [String] {
        var all: [String] = []
        try FlatListing(store, prefix: ObjectKey(prefix)).forEachPage { all += keys($0) }
        return all
    }

    @Test(arguments: [0, 1, 999, 1000, 1001, 30_000]) func tellsOfEveryKeyOnce(count: Int) throws {
        let memory = MemoryStore(.threads(4))
        defer { memory.stop() }
        let names = (0..<count).map { "data/\($0 % 7)/part-\(100_000 + $0)" }
        for name in names + ["date", "dat"] { memory.put(name, "x") }
        memory.clearLog()
        let all = try listed(memory, "data/")
        #expect(all.count == count)
        #expect(Set(all).count == count)
        // Many at a time, and few that were of no use.
        #expect(memory.counts.lists <= count / 1000 * 3 / 2 + 4)
        if count == 30_000 { #expect(memory.counts.peakActive > 4) }
    }

    @Test(arguments: 1...6) func anyKeysAreListedOnce(seed: UInt64) throws {
        var random = Random(seed)
        let memory = MemoryStore(.threads(2))
        defer { memory.stop() }
        var names: Set<String> = []
        for _ in 0..<8_000 {
            let head = ["", "a/", "b/deep/er/", "ü/", "0"].randomElement(using: &random)!
            names.insert(
                head
                    + String(
                        UInt64.random(in: 0...(.max), using: &random),
                        radix: [2, 10, 36].randomElement(using: &random)!))
        }
        for name in names { memory.put(name, "x") }
        let all = try listed(memory)
        #expect(all.count == names.count)
        #expect(Set(all) == names)
    }

    @Test func anErrorEndsIt() throws {
        let memory = MemoryStore()
        defer { memory.stop() }
        for i in 0..<3_000 { memory.put("k\(i)", "x") }
        memory.setBucketExists(false)
        do {
            try FlatListing(memory, prefix: ObjectKey("")).forEachPage { _ in }
            Issue.record("it ended well")
        } catch {
            guard case .listing(.noSuchBucket) = error else {
                Issue.record("\(error)")
                return
            }
        }
    }

    @Test func aReadersErrorComesThrough() throws {
        struct Enough: Error {}
        let memory = MemoryStore()
        defer { memory.stop() }
        for i in 0..<3_000 { memory.put("k\(i)", "x") }
        do {
            try FlatListing(memory, prefix: ObjectKey("")).forEachPage { (_) throws(Enough) in throw Enough() }
            Issue.record("it ended well")
        } catch {
            guard case .body = error else {
                Issue.record("\(error)")
                return
            }
        }
    }
}
