/// Says which pages of a file the kernel may give up behind a reader who goes through it from start to end: a value, told
/// of reads. No I/O.
///
/// Data that is read once and is large against the machine's memory only pushes out what is read often. In a virtual
/// machine it costs more: a page that was free for a while belongs to the host by then, and its first use takes several
/// times longer than the copy of the bytes. Pages that are given back at once are used again while they are warm.
struct DropBehind: Sendable, Equatable {
    /// What is given up at a time, at least.
    static let stepBytes: UInt64 = 8 << 20

    /// The kernel reads ahead, so a program is behind what is asked of us by up to so much.
    let lagBytes: UInt64
    /// Pages of the run from here on are not given up yet.
    private var start: UInt64 = 0
    private var end: UInt64 = 0

    init(lagBytes: UInt64) { self.lagBytes = lagBytes }

    /// A read. Answers what lies far enough behind it, in multiples of `stepBytes`; nil: nothing does.
    mutating func read(_ bytes: Range<UInt64>, isSequential: Bool) -> Range<UInt64>? {
        // One that isn't near the run begins another.
        guard isSequential, bytes.lowerBound <= end + lagBytes, bytes.upperBound + lagBytes >= end else {
            start = bytes.lowerBound / Self.stepBytes * Self.stepBytes
            end = bytes.upperBound
            return nil
        }
        end = max(end, bytes.upperBound)
        guard end >= start + lagBytes + Self.stepBytes else { return nil }
        let behind = start..<(end - lagBytes) / Self.stepBytes * Self.stepBytes
        start = behind.upperBound
        return behind
    }
}
