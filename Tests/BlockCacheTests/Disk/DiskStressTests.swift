import Glibc
import TestSupport
import Testing
import Threads

@testable import BlockCache

/// Long runs: seeded random steps against a model, threads against each other, and a writer that is killed.
@Suite(.serialized) struct DiskStressTests {
    private static let keys = (0..<12).map { diskKey("k\($0)", size: 1 + $0 * 40_000) }

    /// The model: blocks that must be there. Damage and eviction take blocks from it; nothing wrong is ever served.
    @Test(arguments: [11, 12, 13, 14] as [UInt64])
    func randomStepsAgainstAModel(seed: UInt64) throws {
        let fixture = DiskFixture()
        var numbers = Seeded(seed)
        var kept: [DiskKey: Set<Int>] = [:]
        var open: [DiskKey: DiskEntry] = [:]
        var cache = try fixture.open()
        defer { cache.close() }
        var served = 0
        for step in 0..<2_500 {
            let key = Self.keys.randomElement(using: &numbers)!
            let block = Int.random(in: 0..<key.blocks, using: &numbers)
            switch Int.random(in: 0..<100, using: &numbers) {
            case 0..<20:
                if open[key] == nil {
                    let entry: DiskEntry = try #require(cache.entry(key))
                    open[key] = entry
                }
            case 20..<35:
                open.removeValue(forKey: key)?.release()
            case 35..<65:
                guard let entry = open[key] else { continue }
                entry.write(key, block)
                #expect(eventually { entry.has(block) })
                kept[key, default: []].insert(block)
            case 65..<92:
                guard let entry = open[key] else { continue }
                let end = Int.random(in: block + 1...key.blocks, using: &numbers)
                let answer = entry.answer(block..<end, of: key)
                let isKept = (block..<end).allSatisfy { kept[key]?.contains($0) ?? false }
                #expect(answer == (isKept ? .right : .none), "seed \(seed) step \(step)")
                served += answer == .right ? 1 : 0
            case 92..<97:
                // Damage one kept block: it must be gone after a look at it.
                guard let entry = open[key], kept[key]?.contains(block) == true else { continue }
                fixture.flip(key.dataName, at: block * DiskCache.blockBytes)
                #expect(entry.answer(block..<block + 1, of: key) == .none, "seed \(seed) step \(step)")
                #expect(!entry.has(block))
                kept[key]?.remove(block)
            default:
                for entry in open.values { entry.release() }
                open = [:]
                cache.close()
                cache = try fixture.open()
            }
        }
        for entry in open.values { entry.release() }
        #expect(served > 50)
    }

    @Test func threadsWriteReadAndEvictAtOnce() throws {
        let fixture = DiskFixture()
        let cache = try fixture.open(maxBytes: 1 << 20, queueBytes: 512 << 10)
        let counts = Locked((right: 0, wrong: 0))
        let threads = (0..<6).map { number in
            Thread("stress-\(number)") {
                var numbers = Seeded(UInt64(number))
                for _ in 0..<400 {
                    let key = Self.keys.randomElement(using: &numbers)!
                    guard let entry = cache.entry(key) else { continue }
                    let block = Int.random(in: 0..<key.blocks, using: &numbers)
                    if Bool.random(using: &numbers) { entry.write(key, block) }
                    if entry.has(block) {
                        let answer = entry.answer(block..<block + 1, of: key)
                        counts.withLock { $0.right += answer == .right ? 1 : 0 }
                        counts.withLock { $0.wrong += answer == .wrong ? 1 : 0 }
                    }
                    _ = entry.completeFile()
                    entry.release()
                }
            }
        }
        for thread in threads { thread.join() }
        cache.close()
        #expect(counts.withLock { $0.wrong } == 0)
        #expect(counts.withLock { $0.right } > 100)
        // Not one of them was damage: eviction and rewriting never look like it.
        #expect(fixture.registry.counter("millrace_disk_cache_corrupt_blocks_total", "").value == 0)
        #expect(fixture.registry.counter("millrace_disk_cache_evicted_bytes_total", "").value > 0)
    }

    /// The program beside the tests' own.
    private static let program: String = {
        var path = [UInt8](repeating: 0, count: 4096)
        let count = path.withUnsafeMutableBytes { readlink("/proc/self/exe", $0.baseAddress!, $0.count) }
        let own = String(decoding: path.prefix(count), as: UTF8.self)
        return own[..<own.lastIndex(of: "/")!] + "/disk-cache-writer"
    }()

    @Test func aWriterThatIsKilledLeavesNoWrongByte() throws {
        let fixture = DiskFixture()
        var numbers = Seeded(3)
        var (right, files) = (0, 0)
        for round in 0..<50 {
            let writer = Child([Self.program, "write", fixture.directory, "\(round)"])
            #expect(writer.line() == "ready")
            // Any moment will do, so that it differs from round to round.
            usleep(UInt32.random(in: 0..<40_000, using: &numbers))
            kill(writer.pid, SIGKILL)
            #expect(writer.wait() == -Int(SIGKILL), "round \(round)")
            let checker = Child([Self.program, "check", fixture.directory])
            let words = checker.line().split(separator: " ")
            #expect(checker.wait() == 0, "round \(round)")
            try #require(words.count == 6, "round \(round): \(words)")
            #expect(words[3] == "0", "wrong bytes in round \(round)")
            right += Int(words[1]) ?? 0
            files += Int(words[5]) ?? 0
        }
        #expect(right > 1_000, "blocks must survive, or the rounds prove nothing")
        #expect(files > 10)
    }
}
