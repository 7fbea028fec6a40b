import Threads

/// What to fetch ahead of one handle's reads: a value that is told of reads and answers with ranges. No I/O.
///
/// The kernel reads ahead itself and several of its threads ask at once, so reads that belong together arrive in a
/// slightly wrong order, and one read of a program may come as several.
public struct ReadAhead: Sendable, Equatable {
    public struct Limits: Sendable, Equatable {
        /// The window that a reader begins with, in bytes.
        public var initialBytes: UInt64 = 2 << 20
        /// The largest window.
        public var ceilingBytes: UInt64
        /// The largest part, which is one request.
        public var partBytes: UInt64

        public init(ceilingBytes: Int, partBytes: Int) {
            self.ceilingBytes = UInt64(max(0, ceilingBytes))
            self.partBytes = UInt64(max(65536, partBytes))
        }
    }

    /// What one read leads to.
    public struct Plan: Sendable, Equatable {
        /// The read belongs to a run: its bytes are not wanted again soon.
        public var isSequential = false
        /// To be fetched as parts of `partBytes`; empty: nothing.
        public var ahead: Range<UInt64> = 0..<0
        public var partBytes: UInt64 = 0
        /// Single ranges at a fixed distance, to be fetched as they are.
        public var steps: Stride.Steps?
        /// What had been fetched ahead of a reader who has gone elsewhere.
        public var abandoned: Range<UInt64> = 0..<0

        public var isEmpty: Bool { ahead.isEmpty && steps == nil && abandoned.isEmpty }
    }

    /// How far from its place a read may arrive in a run that is well under way.
    private static let disorderBytes: UInt64 = 8 << 20
    private static let cursorLimit = 3
    /// Jumps after which the lengths of past runs say how long the next one will be.
    private static let jumpsToLearn = 4
    /// A window is cut into at least this many parts, for as many connections.
    private static let partsPerWindow: UInt64 = 32
    private static let smallestPartBytes: UInt64 = 1 << 20
    /// A reader that waits gets a window of so many bytes at once; beyond it, larger ones must show their use.
    private static let provenBytes: UInt64 = 16 << 20
    /// A larger window must make the reader faster by this much, or it is not made larger still. Beyond bandwidth times
    /// delay more of it only pushes bytes out of the processor's cache before they are read.
    private static let worthwhile = 1.1
    /// Windows after which another attempt is made, as the network may have changed.
    private static let patience = 8

    /// One run of reads, which may go forward or backward.
    private struct Cursor: Sendable, Equatable {
        var start: UInt64
        var next: UInt64
        /// What is fetched, or asked for, ends here when reading forward and begins at `fetchedStart` when backward.
        var fetchedEnd: UInt64
        var fetchedStart: UInt64
        var forwardSteps = 0
        var backwardSteps = 0
        var windowBytes: UInt64
        var lastUse: UInt64
        /// Where and when the window's use began to be measured, and what came of the last.
        var measuredFrom: UInt64 = 0
        var measuredSince = Instant(nanoseconds: 0)
        var bytesPerSecond = 0.0
        var fruitlessWindows = 0
    }

    public let size: UInt64
    private let limits: Limits
    private var cursors: [Cursor] = []
    private var clock: UInt64 = 0
    private var now = Instant(nanoseconds: 0)
    private var stride = Stride()
    /// Lengths of the last runs that ended with a jump, in bytes.
    private var pastRuns: [UInt64] = []

    public init(size: UInt64, limits: Limits) {
        self.size = size
        self.limits = limits
        cursors.reserveCapacity(ReadAhead.cursorLimit + 1)
        pastRuns.reserveCapacity(ReadAhead.jumpsToLearn + 1)
    }

    /// Unread bytes that were asked for ahead, by cursor: to be abandoned when the handle is closed.
    public var unread: [Range<UInt64>] {
        cursors.flatMap { [$0.next..<max($0.next, $0.fetchedEnd), min($0.fetchedStart, $0.start)..<$0.start] }
            .filter { !$0.isEmpty }
    }

    /// A read of bytes that lie within the object.
    ///
    /// - Parameters:
    ///   - waited: The reader's last read had to wait, so more should be ahead of it.
    ///   - shareBytes: Memory that this reader may have ahead of it.
    public mutating func read(_ bytes: Range<UInt64>, waited: Bool, shareBytes: Int, now: Instant) -> Plan {
        clock += 1
        self.now = now
        var plan = Plan()
        guard !bytes.isEmpty else { return plan }
        if let i = cursors.firstIndex(where: { $0.next == bytes.lowerBound }) {
            cursors[i].next = bytes.upperBound
            cursors[i].forwardSteps += 1
            cursors[i].backwardSteps = 0
            cursors[i].lastUse = clock
            extendForward(merged(i), waited, shareBytes, &plan)
        } else if let i = cursors.firstIndex(where: { $0.start == bytes.upperBound }) {
            cursors[i].start = bytes.lowerBound
            cursors[i].backwardSteps += 1
            cursors[i].lastUse = clock
            extendBackward(i, waited, shareBytes, &plan)
        } else if let i = cursors.firstIndex(where: { isNear(bytes, $0) }) {
            cursors[i].lastUse = clock
            if bytes.upperBound > cursors[i].next {
                cursors[i].next = bytes.upperBound
                extendForward(i, waited, shareBytes, &plan)
            }
            plan.isSequential = true
        } else {
            jump(to: bytes, waited, shareBytes, &plan)
        }
        return plan
    }

    /// Memory ran short: what lies behind `end` was not asked for.
    public mutating func wasCutShort(_ range: Range<UInt64>, at end: UInt64) {
        for i in cursors.indices where cursors[i].fetchedEnd == range.upperBound {
            cursors[i].fetchedEnd = max(cursors[i].next, end)
        }
    }

    /// Out of order, in a run that is well under way.
    private func isNear(_ bytes: Range<UInt64>, _ cursor: Cursor) -> Bool {
        cursor.forwardSteps >= 2
            && bytes.lowerBound >= max(cursor.start, cursor.next - min(cursor.next, Self.disorderBytes))
            && bytes.lowerBound <= cursor.next + min(Self.disorderBytes, cursor.windowBytes)
    }

    /// Joins a cursor with the one that it has run into; answers its index.
    private mutating func merged(_ i: Int) -> Int {
        guard let other = cursors.firstIndex(where: { $0.start == cursors[i].next && $0 != cursors[i] }) else {
            return i
        }
        cursors[i].next = cursors[other].next
        cursors[i].fetchedEnd = max(cursors[i].fetchedEnd, cursors[other].fetchedEnd)
        cursors[i].forwardSteps += 1 + cursors[other].forwardSteps
        cursors[i].windowBytes = max(cursors[i].windowBytes, cursors[other].windowBytes)
        cursors.remove(at: other)
        return other < i ? i - 1 : i
    }

    private mutating func extendForward(_ i: Int, _ waited: Bool, _ shareBytes: Int, _ plan: inout Plan) {
        cursors[i].fetchedEnd = max(cursors[i].fetchedEnd, cursors[i].next)
        let cursor = cursors[i]
        guard isLongerThanExpected(cursor.next - cursor.start) else { return }
        plan.isSequential = true
        grow(i, waited, shareBytes)
        let window = cursors[i].windowBytes
        let part = partBytes(for: window)
        let target = min(size, cursor.next + window)
        // Whole parts, but for the object's end.
        guard target > cursor.fetchedEnd, target == size || target - cursor.fetchedEnd >= part else { return }
        let end = target == size ? size : max(cursor.fetchedEnd + part, target / part * part)
        plan.ahead = cursor.fetchedEnd..<min(end, target)
        plan.partBytes = part
        cursors[i].fetchedEnd = plan.ahead.upperBound
    }

    private mutating func extendBackward(_ i: Int, _ waited: Bool, _ shareBytes: Int, _ plan: inout Plan) {
        cursors[i].fetchedStart = min(cursors[i].fetchedStart, cursors[i].start)
        guard cursors[i].backwardSteps >= 2, isLongerThanExpected(cursors[i].next - cursors[i].start) else { return }
        plan.isSequential = true
        grow(i, waited, shareBytes)
        let cursor = cursors[i]
        let part = partBytes(for: cursor.windowBytes)
        let target = cursor.start - min(cursor.start, cursor.windowBytes)
        guard target < cursor.fetchedStart, target == 0 || cursor.fetchedStart - target >= part else { return }
        plan.ahead = target..<cursor.fetchedStart
        plan.partBytes = part
        cursors[i].fetchedStart = target
    }

    private mutating func grow(_ i: Int, _ waited: Bool, _ shareBytes: Int) {
        let cap = min(limits.ceilingBytes, UInt64(max(0, shareBytes)))
        if waited && isLargerWorthwhile(i) { cursors[i].windowBytes *= 2 }
        cursors[i].windowBytes = min(max(cursors[i].windowBytes, limits.initialBytes), cap)
    }

    /// Whether the window that the cursor has made its reader faster than the one before did.
    private mutating func isLargerWorthwhile(_ i: Int) -> Bool {
        let cursor = cursors[i]
        let readBytes = cursor.next - cursor.start
        guard cursor.windowBytes >= Self.provenBytes else {
            cursors[i].measuredFrom = readBytes
            cursors[i].measuredSince = now
            return true
        }
        let measuredBytes = readBytes - cursor.measuredFrom
        guard measuredBytes >= cursor.windowBytes else { return false }
        let rate = Double(measuredBytes) / max(1e-6, now.ms(since: cursor.measuredSince) / 1000)
        cursors[i].measuredFrom = readBytes
        cursors[i].measuredSince = now
        if rate > cursor.bytesPerSecond * Self.worthwhile || cursor.fruitlessWindows >= Self.patience {
            cursors[i].bytesPerSecond = rate
            cursors[i].fruitlessWindows = 0
            return true
        }
        cursors[i].fruitlessWindows += 1
        return false
    }

    private func partBytes(for window: UInt64) -> UInt64 {
        let wanted = window / Self.partsPerWindow
        var part = min(Self.smallestPartBytes, limits.partBytes)
        while part * 2 <= min(wanted, limits.partBytes) { part *= 2 }
        return part
    }

    /// A program that reads a little here and a little there is not sequential, though each little may come as several
    /// reads. Its past runs say so.
    private func isLongerThanExpected(_ length: UInt64) -> Bool {
        pastRuns.count < Self.jumpsToLearn || length > pastRuns.max() ?? 0
    }

    private mutating func jump(to bytes: Range<UInt64>, _ waited: Bool, _ shareBytes: Int, _ plan: inout Plan) {
        if let last = cursors.max(by: { $0.lastUse < $1.lastUse }) {
            pastRuns.append(last.next - last.start)
            if pastRuns.count > Self.jumpsToLearn { pastRuns.removeFirst() }
            plan.steps = stride.jump(
                to: bytes, from: last.start..<last.next, size: size, waited: waited,
                budgetBytes: min(limits.ceilingBytes, UInt64(max(0, shareBytes))))
        }
        if cursors.count == Self.cursorLimit,
            let oldest = cursors.indices.min(by: { cursors[$0].lastUse < cursors[$1].lastUse })
        {
            let gone = cursors.remove(at: oldest)
            plan.abandoned =
                gone.fetchedEnd > gone.next
                ? gone.next..<gone.fetchedEnd : min(gone.fetchedStart, gone.start)..<gone.start
        }
        cursors.append(
            Cursor(
                start: bytes.lowerBound, next: bytes.upperBound, fetchedEnd: bytes.upperBound,
                fetchedStart: bytes.lowerBound, windowBytes: min(limits.initialBytes, limits.ceilingBytes),
                lastUse: clock))
    }
}
