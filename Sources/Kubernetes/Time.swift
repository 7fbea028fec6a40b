import Glibc

/// RFC 3339 timestamps as the API writes them.
public enum Timestamp {
    /// metav1.Time: whole seconds.
    public static func now() -> String { text(seconds: current().tv_sec) + "Z" }

    /// metav1.MicroTime: six decimals.
    public static func nowMicro() -> String {
        let time = current()
        let micros = String(time.tv_nsec / 1000)
        return text(seconds: time.tv_sec) + "." + String(repeating: "0", count: 6 - micros.count) + micros + "Z"
    }

    /// metav1.Time of a moment in seconds since 1970.
    public static func at(_ seconds: Int64) -> String { text(seconds: Int(seconds)) + "Z" }

    private static func current() -> timespec {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return time
    }

    static func text(seconds: Int) -> String {
        var seconds = seconds
        var parts = tm()
        gmtime_r(&seconds, &parts)
        func two(_ n: Int32) -> String { n < 10 ? "0\(n)" : "\(n)" }
        return "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))T"
            + "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))"
    }
}
