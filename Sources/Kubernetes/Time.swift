import Glibc

/// RFC 3339 timestamps as the API writes them.
public enum Timestamp {
    /// metav1.Time: whole seconds.
    public static func now() -> String { at(secondsNow) }

    /// Seconds since 1970.
    public static var secondsNow: Int { current().tv_sec }

    /// Seconds since 1970 of a metav1.Time or MicroTime; nil for other texts.
    public static func seconds(_ text: String) -> Int? {
        let numbers = text.split { !$0.isASCII || !$0.isNumber }.compactMap { Int32($0) }
        guard text.hasSuffix("Z"), text.contains("T"), numbers.count >= 6 else { return nil }
        var parts = tm()
        (parts.tm_year, parts.tm_mon, parts.tm_mday) = (numbers[0] - 1900, numbers[1] - 1, numbers[2])
        (parts.tm_hour, parts.tm_min, parts.tm_sec) = (numbers[3], numbers[4], numbers[5])
        return timegm(&parts)
    }

    /// metav1.MicroTime: six decimals.
    public static func nowMicro() -> String {
        let time = current()
        let micros = String(time.tv_nsec / 1000)
        return text(seconds: time.tv_sec) + "." + String(repeating: "0", count: 6 - micros.count) + micros + "Z"
    }

    /// metav1.Time of a moment in seconds since 1970.
    public static func at(_ seconds: some BinaryInteger) -> String { text(seconds: Int(seconds)) + "Z" }

    private static func current() -> timespec {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return time
    }

    /// Without a zone.
    private static func text(seconds: Int) -> String {
        var seconds = seconds
        var parts = tm()
        gmtime_r(&seconds, &parts)
        func two(_ n: Int32) -> String { n < 10 ? "0\(n)" : "\(n)" }
        return "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))T"
            + "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))"
    }
}
