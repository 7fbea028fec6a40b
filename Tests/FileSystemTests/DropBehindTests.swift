import Namespace
import TestSupport
import Testing
import Threads

@testable import FileSystem

private let mib: UInt64 = 1 << 20

@Suite struct DropBehindTests {
    private func sweep(_ drop: inout DropBehind, from start: UInt64, count: Int) -> [Range<UInt64>] {
        (0..<UInt64(count)).compactMap { drop.read(start + $0 * mib..<start + ($0 + 1) * mib, isSequential: true) }
    }

    @Test func everythingBehindTheLagIsGivenUpOnce() {
        var drop = DropBehind(lagBytes: 16 * mib)
        let given = sweep(&drop, from: 0, count: 100)
        #expect(given.first == 0..<8 * mib)
        #expect(zip(given, given.dropFirst()).allSatisfy { $0.upperBound == $1.lowerBound })
        #expect(given.last?.upperBound == 80 * mib)
    }

    @Test func whatIsReadOutOfOrderIsNotGivenUpTooSoon() {
        var drop = DropBehind(lagBytes: 16 * mib)
        var order = (0..<UInt64(200)).map { $0 * mib }
        for i in stride(from: 0, to: order.count - 7, by: 8) { order[i..<i + 8].reverse() }
        var newest: UInt64 = 0
        for offset in order {
            newest = max(newest, offset + mib)
            guard let given = drop.read(offset..<offset + mib, isSequential: true) else { continue }
            #expect(given.upperBound + 16 * mib <= newest)
            #expect(given.upperBound <= offset)
        }
    }

    @Test func aJumpBeginsAnew() {
        var drop = DropBehind(lagBytes: 16 * mib)
        _ = sweep(&drop, from: 0, count: 30)
        #expect(drop.read(500 * mib..<501 * mib, isSequential: true) == nil)
        let given = sweep(&drop, from: 501 * mib, count: 40)
        #expect(given.first?.lowerBound == 496 * mib)
    }

    @Test func readsHereAndThereGiveNothingUp() {
        var drop = DropBehind(lagBytes: 16 * mib)
        for i in 0..<1000 as Range<UInt64> {
            #expect(drop.read(i * 7919 % 1000 * mib..<(i * 7919 % 1000 + 1) * mib, isSequential: false) == nil)
        }
    }

    /// What the kernel is told to give up of each file that is read from start to end, one after the other.
    private func given(keeping keptBytes: Int, size: UInt64, passes: Int = 1, opens: Int = 1) throws -> [[UInt64]] {
        var options = FileSystemOptions(scope: "s", bucket: "b")
        options.keptBytes = keptBytes
        let f = Fixture(options: options)
        f.store.put("a", .generated(size: size, seed: 1))
        let bytes = Locked<UInt64>(0)
        f.fileSystem.onConsumed = { _, range in bytes.withLock { $0 += UInt64(range.count) } }
        return try (0..<passes).map { _ in
            let files = try (0..<opens).map { _ in try f.open("a").get() }
            return files.map { file in
                bytes.withLock { $0 = 0 }
                for i in 0..<size / mib { _ = f.read(file, i * mib, Int(mib)) }
                defer { file.close() }
                return bytes.withLock { $0 }
            }
        }
    }

    @Test func aLargeFileReadForTheFirstTimeIsGivenUp() throws {
        #expect(try given(keeping: 32 << 20, size: 64 * mib) == [[48 * mib]])
    }

    @Test func aSmallOneIsKept() throws { #expect(try given(keeping: 64 << 20, size: 64 * mib) == [[0]]) }

    @Test func aSecondPassIsKept() throws {
        #expect(try given(keeping: 32 << 20, size: 64 * mib, passes: 2) == [[48 * mib], [0]])
    }

    @Test func whatSomebodyElseReadsTooIsKept() throws {
        // Once the other has closed it, the last may go on alone; it isn't the first to open it.
        #expect(try given(keeping: 32 << 20, size: 64 * mib, opens: 2) == [[0, 0]])
    }
}
