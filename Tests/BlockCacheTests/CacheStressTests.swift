import BlockCacheTestSupport
import S3
import SystemPackage
import TestSupport
import Testing
import Threads

@testable import BlockCache

/// Threads that read, read ahead, abandon and close at random, of objects that fail, break and are replaced: every read
/// gets the right bytes or an errno that there was a reason for, and in the end nothing is held.
@Suite(.serialized) struct CacheStressTests {
    private static let names = ["a", "b", "c", "d"]
    private static let size = 9 * mib + 12_345
    private static let seedsPerName: UInt64 = 3

    @Test func everyReadIsRightOrHasAReason() {
        let f = Fixture(.threads(2), memory: 16 * mib)
        let seed = Seeded.seed
        f.store.chunkBytes = 40_000
        for name in Self.names { f.store.put(name, .generated(size: UInt64(Self.size), seed: 1)) }
        let problems = Locked<[String]>([])
        let threads = (0..<4).map { index in
            Thread("stress-\(index)") {
                var random = Seeded(seed &+ UInt64(index) &* 7919)
                for _ in 0..<60 { Self.session(f, &random, problems) }
            }
        }
        for thread in threads { thread.join() }
        f.store.clearFaults()
        let deadline = Instant.now.advanced(byMs: 30_000)
        while !f.isAtRest, .now < deadline { _ = Reader().answer }
        f.store.stop()
        #expect(problems.withLock { $0 } == [], "\(Seeded.hint)")
        #expect(f.isAtRest, "\(f.cache.usage) \(Seeded.hint)")
    }

    private static func session(_ f: Fixture, _ random: inout Seeded, _ problems: Locked<[String]>) {
        let name = names.randomElement(using: &random)!
        if Int.random(in: 0..<8, using: &random) == 0 {
            let seed = UInt64.random(in: 1...seedsPerName, using: &random)
            f.store.put(name, .generated(size: UInt64(size), seed: seed))
        }
        if Int.random(in: 0..<4, using: &random) == 0 { f.store.inject(fault(&random)) }
        // A version that may be gone already.
        let seed = UInt64.random(in: 1...seedsPerName, using: &random)
        let etag = StoredObject(.generated(size: UInt64(size), seed: seed)).etag
        let object = f.open(name, etag: etag, size: size)
        var readers: [(offset: Int, count: Int, reader: Reader)] = []
        for _ in 0..<Int.random(in: 1..<12, using: &random) {
            let offset = Int.random(in: 0..<size, using: &random)
            let count = min(size - offset, Int.random(in: 1...2 * mib, using: &random))
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<6:
                let isSequential = Bool.random(using: &random)
                readers.append((offset, count, f.read(object, offset, count, isSequential: isSequential)))
            case 6..<9:
                object.prefetch(
                    UInt64(offset)..<UInt64(size), partBytes: [256 * kib, mib, 8 * mib].randomElement(using: &random)!,
                    priority: .readAhead)
            default: object.abandon(UInt64(offset)..<UInt64(size))
            }
        }
        for (offset, count, reader) in readers {
            let answer = reader.wait()
            switch answer {
            case .bytes: if answer == Fixture.bytes(offset, count, seed: seed) { continue }
            case .failed(.staleNFSFileHandle), .failed(.ioError): continue
            case .failed, nil: break
            }
            problems.withLock {
                $0.append("\(name) seed \(seed) \(offset)+\(count): \(answer == nil ? "no answer" : "wrong")")
            }
        }
        object.release(givesUpRequests: Bool.random(using: &random))
        for (_, _, reader) in readers where reader.answerCount != 1 {
            problems.withLock { $0.append("answered \(reader.answerCount) times") }
        }
    }

    private static func fault(_ random: inout Seeded) -> MemoryFault {
        let after = UInt64.random(in: 0..<UInt64(2 * mib), using: &random)
        let seed = UInt64.random(in: 1...seedsPerName, using: &random)
        let effects: [MemoryFault.Effect] = [
            .fail(.timedOut), .failAfter(bytes: after, .network("reset")), .cut(afterBytes: after), .delay(ms: 2),
            .replace(afterBytes: after, by: StoredObject(.generated(size: UInt64(size), seed: seed))),
        ]
        return MemoryFault(effects.randomElement(using: &random)!, on: .get)
    }
}
