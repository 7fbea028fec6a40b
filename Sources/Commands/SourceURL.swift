import ArgumentParser
import S3

/// `s3://BUCKET[/PREFIX]`, as a person types it.
struct SourceURL: ExpressibleByArgument, Equatable, CustomStringConvertible {
    var bucket: String
    /// Without a leading slash; empty for the whole bucket.
    var path: String

    init?(argument: String) {
        guard argument.hasPrefix("s3://") else { return nil }
        let rest = argument.dropFirst(5)
        let slash = rest.firstIndex(of: "/") ?? rest.endIndex
        bucket = String(rest[..<slash])
        path = slash == rest.endIndex ? "" : String(rest[rest.index(after: slash)...])
        guard Self.isBucketName(bucket) else { return nil }
    }

    /// The prefix of a mount: a directory, so it ends in a slash unless it is the whole bucket.
    var directoryPrefix: ObjectKey { ObjectKey(path.isEmpty || path.hasSuffix("/") ? path : path + "/") }

    var description: String { path.isEmpty ? "s3://\(bucket)" : "s3://\(bucket)/\(path)" }

    /// Wider than AWS's rules (other servers allow capitals and underscores), but nothing that could change a URL's
    /// meaning.
    private static func isBucketName(_ name: String) -> Bool {
        (1...255).contains(name.utf8.count) && name != "." && name != ".."
            && name.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"):
                    true
                default: false
                }
            }
    }
}
