import TestSupport
import Testing
import Threads

@testable import FileSystem

private let kib: UInt64 = 1024
private let mib: UInt64 = 1024 * 1024
private let gib: UInt64 = 1024 * mib

extension ReadAhead {
    /// A read at a moment that doesn't matter.
    fileprivate mutating func read(_ bytes: Range<UInt64>, waited: Bool, shareBytes: Int) -> Plan {
        read(bytes, waited: waited, shareBytes: shareBytes, now: Instant(nanoseconds: 0))
    }
}

@Suite struct ReadAheadTests {
    private func make(_ size: UInt64, ceiling: UInt64 = 256 * mib) -> ReadAhead {
        ReadAhead(size: size, limits: .init(ceilingBytes: Int(ceiling), partBytes: Int(8 * mib)))
    }

    private let plenty = Int(1 * gib)

    @Test func theFirstReadAsksForNothingAndTheSecondInARowDoes() {
        var ahead = make(gib)
        #expect(ahead.read(0..<128 * kib, waited: false, shareBytes: plenty).isEmpty)
        let plan = ahead.read(128 * kib..<256 * kib, waited: false, shareBytes: plenty)
        #expect(plan.isSequential)
        #expect(plan.ahead.lowerBound == 256 * kib)
        #expect(plan.ahead.upperBound >= 2 * mib)
    }

    /// The largest window that a reader gets who reads `rate(window)` bytes a second.
    private func largestWindow(waits: Bool, _ rate: (UInt64) -> Double) -> (window: UInt64, part: UInt64) {
        var ahead = make(10 * gib)
        var asked: UInt64 = 0
        var window: UInt64 = 0
        var part: UInt64 = 0
        var now = Instant(nanoseconds: 1_000_000_000)
        for i in 0..<4096 {
            let end = UInt64(i + 1) * mib
            let plan = ahead.read(UInt64(i) * mib..<end, waited: waits, shareBytes: plenty, now: now)
            if !plan.ahead.isEmpty { asked = plan.ahead.upperBound }
            window = max(window, asked - min(asked, end))
            part = max(part, plan.partBytes)
            now.nanoseconds += UInt64(1e9 * Double(mib) / rate(window))
        }
        return (window, part)
    }

    @Test func theWindowGrowsWhileThatMakesAWaitingReaderFaster() {
        let delayed = largestWindow(waits: true) { min(1.2e9, Double(max($0, mib)) / 0.1) }
        #expect(delayed.window > 100 * mib)
        #expect(delayed.part == 8 * mib)
        let near = largestWindow(waits: true) { _ in 1.5e9 }
        #expect(near.window >= 16 * mib)
        let patient = largestWindow(waits: false) { _ in 1.5e9 }
        #expect(patient.window <= 3 * mib)
    }

    @Test func aWindowThatBringsNothingGrowsSlowly() {
        var ahead = make(10 * gib)
        var now = Instant(nanoseconds: 1_000_000_000)
        var asked: UInt64 = 0
        for i in 0..<512 {
            let plan = ahead.read(UInt64(i) * mib..<UInt64(i + 1) * mib, waited: true, shareBytes: plenty, now: now)
            if !plan.ahead.isEmpty { asked = plan.ahead.upperBound }
            now.nanoseconds += 1_000_000
        }
        #expect(asked <= (512 + 64) * mib)
    }

    @Test(arguments: [UInt64(0), 4, 12, 100])
    func itStaysWithinTheReadersShare(share: UInt64) {
        var ahead = make(10 * gib)
        for i in 0..<200 {
            let read = UInt64(i) * mib..<UInt64(i + 1) * mib
            let plan = ahead.read(read, waited: true, shareBytes: Int(share * mib))
            // Rounding to whole parts may not exceed it either.
            if !plan.ahead.isEmpty { #expect(plan.ahead.upperBound - read.upperBound <= share * mib) }
        }
    }

    @Test func randomReadsAreExact() {
        var random = Seeded(Seeded.seed)
        var ahead = make(64 * gib)
        for _ in 0..<10_000 {
            let offset = UInt64.random(in: 0..<64 * gib / (128 * kib), using: &random) * 128 * kib
            let plan = ahead.read(offset..<offset + 128 * kib, waited: true, shareBytes: plenty)
            #expect(plan.ahead.isEmpty && plan.steps == nil, "\(Seeded.hint)")
        }
    }

    @Test func randomReadsThatComeInPiecesBecomeExact() {
        var random = Seeded(Seeded.seed)
        var ahead = make(64 * gib)
        var asked: UInt64 = 0
        for i in 0..<1000 {
            let offset = UInt64.random(in: 0..<64 * gib / (4 * mib), using: &random) * 4 * mib
            for piece in 0..<4 {
                let start = offset + UInt64(piece) * mib
                let plan = ahead.read(start..<start + mib, waited: true, shareBytes: plenty)
                if i > 8 { asked += UInt64(plan.ahead.count) }
            }
        }
        // Two of 16,384 places may be neighbours by chance.
        #expect(asked <= 40 * mib, "\(Seeded.hint)")
    }

    @Test func readsInASlightlyWrongOrderAreStillSequential() {
        var random = Seeded(Seeded.seed)
        var ahead = make(4 * gib)
        var covered: UInt64 = 0
        var sequential = 0
        for batch in 0..<256 {
            for i in (0..<4).shuffled(using: &random) {
                let start = UInt64(batch * 4 + i) * mib
                let plan = ahead.read(start..<start + mib, waited: true, shareBytes: plenty)
                if plan.isSequential { sequential += 1 }
                if !plan.ahead.isEmpty {
                    #expect(plan.ahead.lowerBound >= covered, "no byte is asked for twice; \(Seeded.hint)")
                    covered = plan.ahead.upperBound
                }
            }
        }
        #expect(covered >= 1 * gib, "\(Seeded.hint)")
        #expect(sequential > 1000, "\(Seeded.hint)")
    }

    @Test func backwardReadsAreReadAheadBackward() {
        var ahead = make(gib)
        var fetched: Set<UInt64> = []
        var late = 0
        var at = gib
        while at > 0 {
            at -= mib
            if !fetched.contains(at) { late += 1 }
            let plan = ahead.read(at..<at + mib, waited: true, shareBytes: plenty)
            if !plan.ahead.isEmpty {
                for start in stride(from: plan.ahead.lowerBound, to: plan.ahead.upperBound, by: Int(mib)) {
                    #expect(fetched.insert(start).inserted)
                }
            }
        }
        #expect(late <= 4)
        #expect(fetched.count <= 1024)
    }

    @Test(arguments: [Int64(17), -17])
    func aKnownStrideIsFetchedBeforeItIsRead(distance: Int64) {
        var ahead = make(4 * gib)
        var at = distance > 0 ? Int64(0) : Int64(4 * gib - 256 * kib)
        var fetched: Set<UInt64> = []
        var late = 0
        var reads = 0
        while at >= 0, at + Int64(256 * kib) <= Int64(4 * gib) {
            let start = UInt64(at)
            if fetched.remove(start) == nil { late += 1 }
            let plan = ahead.read(start..<start + 256 * kib, waited: true, shareBytes: plenty)
            if let steps = plan.steps {
                for i in 0..<steps.count {
                    #expect(steps[i].count == Int(256 * kib))
                    #expect(fetched.insert(steps[i].lowerBound).inserted)
                }
            }
            reads += 1
            at += distance * Int64(mib)
        }
        #expect(late <= 3)
        #expect(fetched.count <= 1)
        #expect(reads > 200)
    }

    @Test func aStrideWhoseStepsComeInTwoPiecesIsKnownToo() {
        var ahead = make(4 * gib)
        var late = 0
        var bytes: UInt64 = 0
        var fetched: Set<UInt64> = []
        for step in 0..<200 {
            let start = UInt64(step) * 17 * mib
            for piece in [start, start + 128 * kib] {
                if !fetched.contains(piece) { late += 1 }
                let plan = ahead.read(piece..<piece + 128 * kib, waited: true, shareBytes: plenty)
                bytes += UInt64(plan.ahead.count)
                for i in 0..<(plan.steps?.count ?? 0) {
                    let range = plan.steps![i]
                    bytes += UInt64(range.count)
                    for at in stride(from: range.lowerBound, to: range.upperBound, by: Int(128 * kib)) {
                        fetched.insert(at)
                    }
                }
            }
        }
        #expect(late <= 20)
        #expect(bytes <= 200 * 256 * kib * 3 / 2)
    }

    @Test func threeReadersOfOneHandleEachHaveTheirRun() {
        var ahead = make(9 * gib)
        var asked = [UInt64](repeating: 0, count: 3)
        for i in 0..<100 {
            for reader in 0..<3 {
                let start = UInt64(reader) * 3 * gib + UInt64(i) * mib
                let plan = ahead.read(start..<start + mib, waited: true, shareBytes: plenty)
                #expect(plan.abandoned.isEmpty)
                if !plan.ahead.isEmpty { asked[reader] = plan.ahead.upperBound - UInt64(reader) * 3 * gib }
            }
        }
        for end in asked { #expect(end > 100 * mib) }
    }

    @Test func whoGoesElsewhereLeavesTheUnreadToBeAbandoned() {
        var ahead = make(9 * gib)
        _ = ahead.read(0..<mib, waited: true, shareBytes: plenty)
        let plan = ahead.read(mib..<2 * mib, waited: true, shareBytes: plenty)
        #expect(!plan.ahead.isEmpty)
        #expect(ahead.unread == [2 * mib..<plan.ahead.upperBound])
        var abandoned: [Range<UInt64>] = []
        for i in 1...3 {
            let start = UInt64(i * i) * gib
            let plan = ahead.read(start..<start + mib, waited: true, shareBytes: plenty)
            if !plan.abandoned.isEmpty { abandoned.append(plan.abandoned) }
        }
        #expect(abandoned == [2 * mib..<plan.ahead.upperBound])
        #expect(ahead.unread == [])
    }

    @Test func whatGotNoMemoryIsAskedForAgain() {
        var ahead = make(9 * gib)
        _ = ahead.read(0..<mib, waited: true, shareBytes: plenty)
        let first = ahead.read(mib..<2 * mib, waited: true, shareBytes: plenty)
        ahead.wasCutShort(first.ahead, at: first.ahead.lowerBound)
        let second = ahead.read(2 * mib..<3 * mib, waited: true, shareBytes: plenty)
        #expect(second.ahead.lowerBound == 3 * mib)
    }

    /// Whatever is read: nothing beyond the end, nothing beyond the share, no overflow.
    @Test func anyReadsGetPlansWithinTheObject() {
        var random = Seeded(Seeded.seed)
        for _ in 0..<300 {
            let size = UInt64.random(in: 1...(Bool.random(using: &random) ? 20 * mib : 5 << 40), using: &random)
            let ceiling = [0, 2 * mib, 64 * mib].randomElement(using: &random)!
            var ahead = make(size, ceiling: ceiling)
            var at = UInt64.random(in: 0..<size, using: &random)
            for _ in 0..<200 {
                switch Int.random(in: 0..<8, using: &random) {
                case 0: at = UInt64.random(in: 0..<size, using: &random)
                case 1: at -= min(at, UInt64.random(in: 0...4 * mib, using: &random))
                case 2: at = min(size - 1, at + UInt64.random(in: 0...4 * mib, using: &random))
                default: break
                }
                let end = min(size, at + UInt64.random(in: 1...mib, using: &random))
                let share = Int.random(in: 0...Int(128 * mib), using: &random)
                let plan = ahead.read(at..<end, waited: Bool.random(using: &random), shareBytes: share)
                let window = min(ceiling, UInt64(share))
                #expect(plan.ahead.upperBound <= size, "\(Seeded.hint)")
                if !plan.ahead.isEmpty {
                    #expect(UInt64(plan.ahead.count) <= window, "\(Seeded.hint)")
                    #expect(plan.partBytes > 0, "\(Seeded.hint)")
                }
                if let steps = plan.steps {
                    #expect(UInt64(steps.count) * steps.length <= window, "\(Seeded.hint)")
                    for i in 0..<steps.count { #expect(steps[i].upperBound <= size, "\(Seeded.hint)") }
                }
                #expect(plan.abandoned.upperBound <= size, "\(Seeded.hint)")
                at = end == size ? 0 : end
            }
        }
    }
}
