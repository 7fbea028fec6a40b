import Synchronization
import Threads

/// A count that only grows.
public final class Counter: Sendable {
    private let count = Atomic<Int>(0)
    public init() {}
    public func add(_ n: Int = 1) { count.add(n, ordering: .relaxed) }
    public var value: Int { count.load(ordering: .relaxed) }
}

/// A level that rises and falls.
public final class Gauge: Sendable {
    private let level = Atomic<Int>(0)
    public init() {}
    public func add(_ n: Int) { level.add(n, ordering: .relaxed) }
    public func set(_ n: Int) { level.store(n, ordering: .relaxed) }
    public var value: Int { level.load(ordering: .relaxed) }
}

/// A distribution in fixed buckets. Observing takes no lock.
public final class Histogram: Sendable {
    /// Upper bounds in seconds: 100 µs to 60 s.
    public static let latencyBuckets: [Double] = [
        0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
    ]

    public let bounds: [Double]
    private let counts: Counts
    private let sumMicros = Atomic<Int>(0)

    private final class Counts: @unchecked Sendable {
        let cells: UnsafeMutablePointer<Atomic<Int>>
        let count: Int
        init(_ count: Int) {
            self.count = count
            cells = .allocate(capacity: count)
            for i in 0..<count { (cells + i).initialize(to: Atomic(0)) }
        }
        deinit {
            cells.deinitialize(count: count)
            cells.deallocate()
        }
    }

    public init(bounds: [Double] = Histogram.latencyBuckets) {
        self.bounds = bounds
        counts = Counts(bounds.count + 1)
    }

    /// One observation, in the unit of the bounds (seconds for latencies).
    public func observe(_ value: Double) {
        var i = 0
        while i < bounds.count && value > bounds[i] { i += 1 }
        counts.cells[i].add(1, ordering: .relaxed)
        sumMicros.add(Int(value * 1e6), ordering: .relaxed)
    }

    public var count: Int { (0..<counts.count).reduce(0) { $0 + counts.cells[$1].load(ordering: .relaxed) } }
    public var sum: Double { Double(sumMicros.load(ordering: .relaxed)) / 1e6 }

    /// Counts at or below each bound, then all.
    public var cumulative: [Int] {
        var total = 0
        return (0..<counts.count).map { i in
            total += counts.cells[i].load(ordering: .relaxed)
            return total
        }
    }

    /// The upper bound of the bucket in which the `q`-quantile lies; nil while there are fewer than `atLeast` values.
    public func quantile(_ q: Double, atLeast: Int = 1) -> Double? {
        let cumulative = cumulative
        guard let total = cumulative.last, total >= atLeast, total > 0 else { return nil }
        let rank = Int((Double(total) * q).rounded(.up))
        let bucket = cumulative.firstIndex { $0 >= rank } ?? bounds.count
        return bucket < bounds.count ? bounds[bucket] : bounds.last
    }
}
