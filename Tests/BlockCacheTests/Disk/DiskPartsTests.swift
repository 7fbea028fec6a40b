import CLinux
import TestSupport
import Testing

@testable import BlockCache

/// The parts that do no I/O.
struct DiskPartsTests {
    @Test func crc32cIsCastagnolisAndTheInstructionAgreesWithTheTables() {
        #expect(clinux_crc32c(0, "123456789", 9) == 0xe306_9283)
        #expect(clinux_crc32c_portable(0, "123456789", 9) == 0xe306_9283)
        var numbers = Seeded(1)
        let bytes = (0..<300_000).map { _ in UInt8.random(in: 0...255, using: &numbers) }
        bytes.withUnsafeBytes { bytes in
            // All short lengths, those around the three streams' and the block's, and some at random.
            var lengths = Array(0...300) + [1360 * 3, 21840 * 3, 65536, 131072].flatMap { [$0 - 1, $0, $0 + 1] }
            lengths += (0..<200).map { _ in Int.random(in: 0...200_000, using: &numbers) }
            for length in lengths {
                let start = bytes.baseAddress! + Int.random(in: 0...64, using: &numbers)
                let seed = UInt32.random(in: 0...UInt32.max, using: &numbers)
                #expect(clinux_crc32c(seed, start, length) == clinux_crc32c_portable(seed, start, length), "\(length)")
            }
        }
    }

    @Test func keysThatDifferInOneFieldHaveDifferentFiles() {
        let keys = [
            diskKey("a", size: 1), diskKey("b", size: 1), diskKey("a", size: 2), diskKey("a", size: 1, etag: "f"),
            diskKey("a", size: 1, scope: "t"), diskKey("a", size: 1, version: ""), diskKey("a", size: 1, version: "1"),
            diskKey("ae", size: 1, etag: ""), diskKey("", size: 1, etag: "ae"),
        ]
        #expect(Set(keys.map(\.digest)).count == keys.count)
        for key in keys { #expect(DiskDigest(name: key.digest.name.utf8) == key.digest) }
        #expect(DiskDigest(name: "00".utf8) == nil)
        #expect(DiskDigest(name: String(repeating: "G", count: 64).utf8) == nil)
    }

    /// Against an array of (digest, bytes), oldest first.
    @Test(arguments: [1, 2, 3] as [UInt64])
    func indexBehavesLikeAListInOrderOfUse(seed: UInt64) {
        var numbers = Seeded(seed)
        var index = DiskIndex()
        var model: [(digest: DiskDigest, bytes: UInt64)] = []
        let digests = (0..<400).map { number -> DiskDigest in
            var digest = DiskDigest()
            // Few homes in the table, so that probes collide.
            digest.a = UInt64(number % 7)
            digest.b = UInt64(number)
            return digest
        }
        for _ in 0..<20_000 {
            let digest = digests.randomElement(using: &numbers)!
            let at = model.firstIndex { $0.digest == digest }
            switch Int.random(in: 0..<5, using: &numbers) {
            case 0, 1:
                let bytes = UInt64.random(in: 0..<1000, using: &numbers) * 4096
                let asOldest = Bool.random(using: &numbers)
                index.set(digest, bytes: bytes, asOldest: asOldest)
                if let at {
                    model[at].bytes = bytes
                } else {
                    model.insert((digest, bytes), at: asOldest ? 0 : model.count)
                }
            case 2:
                #expect(index.touch(digest) == (at != nil))
                if let at { model.append(model.remove(at: at)) }
            case 3:
                #expect(index.remove(digest) == at.map { model[$0].bytes })
                if let at { model.remove(at: at) }
            default:
                #expect(index.contains(digest) == (at != nil))
                #expect(index.oldest { $0.b % 3 == 0 } == model.first { $0.digest.b % 3 == 0 }?.digest)
            }
            #expect(index.count == model.count)
            #expect(index.bytes == model.reduce(0) { $0 + $1.bytes })
        }
        #expect(model.count > 50, "the run must reach a well-filled table")
    }

    @Test func spaceIsGivenBackToTheLowWatermarkAndToOthers() {
        let policy = SpacePolicy(maxBytes: 1000, reservedFreeBytes: 100)
        #expect(policy.excess(used: 950, free: 10_000) == 0)
        #expect(policy.excess(used: 951, free: 10_000) == 101)
        #expect(policy.admits(49, used: 951, free: 10_000))
        #expect(!policy.admits(50, used: 951, free: 10_000))
        // Others fill the disk: the limit sinks below what is used, until the reserve is free again.
        #expect(policy.limit(used: 800, free: 50) == 750)
        #expect(policy.excess(used: 800, free: 50) == 800 - 637)
        #expect(!policy.admits(1, used: 800, free: 50))
        #expect(policy.limit(used: 20, free: 50) == 0)
    }

    @Test func recordsBelongToOneBlockOfOneObject() {
        let (a, b) = (diskKey("a", size: 1).digest, diskKey("b", size: 1).digest)
        let record = MapFile.record(0, block: 7, a)
        #expect(record != 0)
        #expect(MapFile.checksum(inRecord: record, block: 7, a) == 0)
        #expect(MapFile.checksum(inRecord: record, block: 8, a) == nil)
        #expect(MapFile.checksum(inRecord: record, block: 7, b) == nil)
        #expect(MapFile.checksum(inRecord: 0, block: 7, a) == nil)
        for bit in 0..<64 { #expect(MapFile.checksum(inRecord: record ^ 1 << UInt64(bit), block: 7, a) == nil) }
    }

    @Test func queueKeepsOrderWhileItsFrontMovesOn() {
        var queue = FIFO<Int>()
        var numbers = Seeded(9)
        var (next, expected) = (0, 0)
        for _ in 0..<20_000 {
            if Int.random(in: 0..<100, using: &numbers) < 51 {
                queue.append(next)
                next += 1
            } else if let value = queue.popFirst() {
                #expect(value == expected)
                expected += 1
            }
            #expect(queue.count == next - expected)
        }
        #expect(expected > 5_000)
    }
}
