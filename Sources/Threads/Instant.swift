import Glibc

/// A moment on the monotonic clock, in nanoseconds: eight bytes, and a read costs a vDSO call.
public struct Instant: Comparable, Hashable, Sendable {
    public var nanoseconds: UInt64

    public init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

    public static var now: Instant {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Instant(nanoseconds: UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec))
    }

    public static let distantFuture = Instant(nanoseconds: .max / 2)

    public static func < (a: Instant, b: Instant) -> Bool { a.nanoseconds < b.nanoseconds }

    public func advanced(byMs ms: Int) -> Instant {
        Instant(nanoseconds: UInt64(clamping: Int64(clamping: nanoseconds) + Int64(ms) * 1_000_000))
    }

    /// Milliseconds from `earlier` to here, 0 where it is later.
    public func ms(since earlier: Instant) -> Double {
        earlier < self ? Double(nanoseconds - earlier.nanoseconds) / 1e6 : 0
    }
}
