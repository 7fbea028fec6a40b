import Glibc

/// SplitMix64, so that a seed means the same everywhere.
struct Random: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }

    mutating func below(_ limit: Int) -> Int { Int(next() % UInt64(limit)) }
    mutating func chance(_ percent: Int) -> Bool { below(100) < percent }

    /// MILLRACE_SEED alone, or some seeds that differ from run to run; every one is printed.
    static func seeds(_ count: Int) -> [UInt64] {
        if let text = getenv("MILLRACE_SEED"), let seed = UInt64(String(cString: text)) { return [seed] }
        var system = SystemRandomNumberGenerator()
        return (0..<count).map { _ in system.next() % 1_000_000_000 }
    }
}

func padded(_ number: Int, _ width: Int) -> String {
    let digits = String(number)
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
}

func hex(_ number: UInt64) -> String {
    let digits = String(number, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
}
