/// Exponential backoff with full jitter: the n-th wait is anything up to base × 2ⁿ, at most `mostMs`.
public struct Backoff: Sendable {
    public var baseMs: Int
    public var mostMs: Int
    public private(set) var failures = 0

    public init(baseMs: Int, mostMs: Int) {
        self.baseMs = baseMs
        self.mostMs = mostMs
    }

    public mutating func succeeded() { failures = 0 }

    /// Counts one more failure and answers how long to wait.
    public mutating func next(using random: inout some RandomNumberGenerator) -> Int {
        failures += 1
        return Self.delayMs(failures: failures, baseMs: baseMs, mostMs: mostMs, using: &random)
    }

    public mutating func next() -> Int {
        var random = SystemRandomNumberGenerator()
        return next(using: &random)
    }

    public static func delayMs(
        failures: Int, baseMs: Int, mostMs: Int, using random: inout some RandomNumberGenerator
    ) -> Int {
        let ceiling = failures > 30 ? mostMs : min(mostMs, baseMs << (failures - 1))
        // Never less than a tenth, or a streak of small numbers would make a hot loop.
        return Int.random(in: max(1, ceiling / 10)...max(1, ceiling), using: &random)
    }
}
