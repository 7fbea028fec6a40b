/// Recognizes reads at a fixed distance from each other, forward or backward, and says which come next.
public struct Stride: Sendable, Equatable {
    /// `count` ranges of `length` bytes: the first begins at `start`, each further one `distance` bytes on.
    public struct Steps: Sendable, Equatable {
        public var start: UInt64
        public var distance: Int64
        public var length: UInt64
        public var count: Int

        public subscript(i: Int) -> Range<UInt64> {
            let start = UInt64(Int64(self.start) + Int64(i) * distance)
            return start..<start + length
        }
    }

    private static let largestDepth = 32

    private var distance: Int64 = 0
    /// Jumps in a row over the same distance.
    private var repeats = 0
    /// Steps that are asked for already, beyond the current one.
    private var askedSteps = 0
    private var depth = 2

    public init() {}

    /// The reader went from one run of reads to `bytes`.
    ///
    /// - Parameters:
    ///   - budgetBytes: The most that may be ahead.
    mutating func jump(
        to bytes: Range<UInt64>, from last: Range<UInt64>, size: UInt64, waited: Bool, budgetBytes: UInt64
    ) -> Steps? {
        let jumped = Int64(bytes.lowerBound) - Int64(last.lowerBound)
        guard jumped == distance, jumped != 0 else {
            distance = jumped
            repeats = 0
            askedSteps = 0
            depth = 2
            return nil
        }
        repeats += 1
        askedSteps = max(0, askedSteps - 1)
        if waited { depth = min(depth * 2, Stride.largestDepth) }
        let length = max(UInt64(bytes.count), UInt64(last.count))
        var wanted = min(depth, Int(clamping: budgetBytes / max(1, length)))
        // Whole steps within the object.
        let room = distance > 0 ? (size - bytes.lowerBound) : bytes.lowerBound
        let magnitude = distance.magnitude
        wanted = min(wanted, Int(clamping: room / magnitude))
        if distance > 0, wanted > 0, bytes.lowerBound + UInt64(wanted) * magnitude + length > size { wanted -= 1 }
        guard wanted > askedSteps else { return nil }
        let steps = Steps(
            start: UInt64(Int64(bytes.lowerBound) + Int64(askedSteps + 1) * distance), distance: distance,
            length: length, count: wanted - askedSteps)
        askedSteps = wanted
        return steps
    }
}
