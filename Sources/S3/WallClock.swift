import Glibc

public enum WallClock {
    /// Seconds since 1970.
    static var now: Int64 { Int64(time(nil)) }

    public static let system: @Sendable () -> Int64 = { now }
}
