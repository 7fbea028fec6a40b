import Glibc
import Logging
import Threads

/// Sends a program's log to standard error: a line for a person, or one JSON object a line for a collector.
public struct LogOutput: LogHandler {
    public enum Format: String, Sendable, CaseIterable { case text, json }

    public var logLevel: Logger.Level
    public var metadata: Logger.Metadata = [:]
    private let label: String
    private let format: Format
    private static let writing = Lock()

    /// Makes it the output of every `Logger` of the process. Call once, at the start.
    public static func bootstrap(level: Logger.Level, format: Format) {
        LoggingSystem.bootstrap { LogOutput(label: $0, level: level, format: format) }
    }

    init(label: String, level: Logger.Level, format: Format) {
        self.label = label
        self.logLevel = level
        self.format = format
    }

    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    public func log(event: LogEvent) {
        let fields = metadata.merging(event.metadata ?? [:]) { $1 }.map { ($0.key, $0.value.description) }
            .sorted { $0.0 < $1.0 }
        let line = Self.line(
            format, time: Self.timestamp(), level: event.level, label: label, message: event.message.description,
            fields: fields)
        var bytes = line
        bytes.withUTF8 { buffer in
            Self.writing.withLock { _ = write(2, buffer.baseAddress, buffer.count) }
        }
    }

    static func line(
        _ format: Format, time: String, level: Logger.Level, label: String, message: String,
        fields: [(String, String)]
    ) -> String {
        switch format {
        case .text:
            let tail = fields.map { " \($0.0)=\(quotedIfNeeded($0.1))" }.joined()
            return "\(time) \(level.rawValue) \(label): \(escaped(message))\(tail)\n"
        case .json:
            let tail = fields.map { ",\"\(escaped($0.0))\":\"\(escaped($0.1))\"" }.joined()
            return "{\"time\":\"\(time)\",\"level\":\"\(level.rawValue)\",\"logger\":\"\(escaped(label))\","
                + "\"message\":\"\(escaped(message))\"\(tail)}\n"
        }
    }

    private static func quotedIfNeeded(_ value: String) -> String {
        value.isEmpty || value.utf8.contains { $0 <= 0x20 || $0 == 0x22 || $0 == 0x7f || $0 == 0x3d }
            ? "\"\(escaped(value))\"" : value
    }

    /// JSON's escapes, which also keep a key with a newline from forging a line of text.
    private static func escaped(_ value: String) -> String {
        var out = ""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": out += "\\\""
            case "\\": out += "\\\\"
            case "\n": out += "\\n"
            case "\r": out += "\\r"
            case "\t": out += "\\t"
            case _ where scalar.value < 0x20 || scalar.value == 0x7f:
                let hex = String(scalar.value, radix: 16)
                out += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
            default: out.unicodeScalars.append(scalar)
            }
        }
        return out
    }

    /// RFC 3339, UTC, milliseconds.
    private static func timestamp() -> String {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        var parts = tm()
        gmtime_r(&now.tv_sec, &parts)
        func padded(_ n: Int, _ width: Int) -> String {
            let digits = String(n)
            return String(repeating: "0", count: max(0, width - digits.count)) + digits
        }
        return
            "\(parts.tm_year + 1900)-\(padded(Int(parts.tm_mon) + 1, 2))-\(padded(Int(parts.tm_mday), 2))T"
            + "\(padded(Int(parts.tm_hour), 2)):\(padded(Int(parts.tm_min), 2)):\(padded(Int(parts.tm_sec), 2))."
            + "\(padded(now.tv_nsec / 1_000_000, 3))Z"
    }
}
