import Glibc
import S3

/// Times as the API writes them and as IDs of revisions have them.
enum Moment {
    static var now: Int { Int(time(nil)) }

    static func seconds(_ text: String) -> Int? { Dates.parseISO8601(text).map { Int($0) } }

    /// "2026-11-21T16:15:00Z"
    static func text(_ seconds: Int) -> String {
        let date = Dates.civil(Int64(seconds))
        return
            "\(date.year)-\(two(date.month))-\(two(date.day))T\(two(date.hour)):\(two(date.minute)):\(two(date.second))Z"
    }

    /// "20261121t161500z": in order, and fit for a label and a path.
    static func id(_ seconds: Int) -> String {
        let date = Dates.civil(Int64(seconds))
        return "\(date.year)\(two(date.month))\(two(date.day))t\(two(date.hour))\(two(date.minute))\(two(date.second))z"
    }

    private static func two(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
}
