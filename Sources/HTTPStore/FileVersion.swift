import Curl
import S3

/// What a web server says of one version of a file.
struct FileVersion: Equatable, Sendable {
    var size: UInt64
    /// As sent, with quotes; nil where there is none.
    var etag: String?
    /// Seconds since 1970.
    var modified: Int64?
    var contentType: String?

    /// What tells versions apart: the ETag, else time and size.
    var tag: String {
        if let etag {
            return etag.hasPrefix("\"") && etag.hasSuffix("\"") && etag.count >= 2
                ? String(etag.dropFirst().dropLast()) : etag
        }
        return Self.tag(modified: modified, size: size)
    }

    static func tag(modified: Int64?, size: UInt64) -> String { "time:\(modified ?? 0):\(size)" }

    /// Whether an answer is of the version that a tag names.
    func matches(_ tag: String) -> Bool {
        tag == self.tag || tag == Self.tag(modified: modified, size: size)
    }

    var metadata: ObjectMetadata {
        ObjectMetadata(size: size, etag: tag, modified: modified ?? 0, contentType: contentType)
    }

    /// The header that makes the server itself refuse another version; nil where there is none to say.
    static func condition(for tag: String) -> (name: String, value: String)? {
        if tag.hasPrefix("time:") {
            guard let seconds = Int64(tag.dropFirst(5).prefix { $0 != ":" }), seconds > 0 else { return nil }
            return ("If-Unmodified-Since", HTTPDate.text(seconds))
        }
        // A weak one never matches, as servers compare.
        guard !tag.hasPrefix("W/"), tag.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x22 && $0 < 0x7f }) else { return nil }
        return ("If-Match", "\"\(tag)\"")
    }

    /// - Parameter total: the whole file's size.
    init(_ response: HTTPResponse, total: UInt64) {
        size = total
        etag = response.header("etag").map { String($0.prefix(256)) }
        modified = response.header("last-modified").flatMap { text in
            Array(text.utf8).withUnsafeBytes { Dates.parseHTTP($0) }
        }
        contentType = response.header("content-type")
    }

    init(size: UInt64, modified: Int64?) {
        self.size = size
        self.modified = modified
    }
}

/// "Wed, 21 Oct 2015 07:28:00 GMT"
enum HTTPDate {
    static func text(_ seconds: Int64) -> String {
        let days = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        let date = Dates.civil(seconds)
        func two(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
        let weekday = days[Int((seconds / 86_400 % 7 + 7) % 7)]
        return "\(weekday), \(two(date.day)) \(months[date.month - 1]) \(date.year) "
            + "\(two(date.hour)):\(two(date.minute)):\(two(date.second)) GMT"
    }
}
