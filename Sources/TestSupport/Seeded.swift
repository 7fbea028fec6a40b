import Glibc

/// Random choices that a failed test can repeat: the seed is printed with the failure, and MILLRACE_SEED sets it.
public struct Seeded: RandomNumberGenerator {
    private var state: UInt64

    public init(_ seed: UInt64) { state = seed }

    public mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var word = state
        word = (word ^ (word >> 30)) &* 0xbf58_476d_1ce4_e5b9
        word = (word ^ (word >> 27)) &* 0x94d0_49bb_1331_11eb
        return word ^ (word >> 31)
    }

    /// The seed of this run.
    public static let seed: UInt64 = {
        if let text = getenv("MILLRACE_SEED"), let seed = UInt64(String(cString: text)) { return seed }
        return UInt64.random(in: 0...UInt64(UInt32.max))
    }()

    public static var hint: String { "repeat with MILLRACE_SEED=\(seed)" }
}
