import Glibc
import TestSupport

/// Random choices by a seed.
struct Random: RandomNumberGenerator {
    private var numbers: Seeded
    init(seed: UInt64) { numbers = Seeded(seed) }

    mutating func next() -> UInt64 { numbers.next() }

    mutating func below(_ limit: Int) -> Int { Int(next() % UInt64(limit)) }
    mutating func chance(_ percent: Int) -> Bool { below(100) < percent }

    /// What a failure of this seed says.
    static func hint(_ seed: UInt64) -> String { "repeat with MILLRACE_SEED=\(seed)" }

    /// MILLRACE_SEED alone, or some seeds that differ from run to run; what fails says its own by `hint`.
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
