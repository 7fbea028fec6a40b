import Curl

/// Files on a web server: where they are and how they are asked for.
public struct HTTPSource: Sendable {
    public enum Location: Sendable, Equatable {
        /// A URL that ends in "/": its page, and those of the directories below it, list what is there (autoindex of
        /// nginx and its kin, HTML or JSON).
        case index(String)
        /// A text file with one URL in each line, absolute or relative to it, and a name where it shall have another one.
        case list(String)
        /// The lines of such a file.
        case urls([String])
    }

    public var location: Location
    /// Sent with every request to the location's own hosts. May hold secrets: never logged.
    public var headers: [(name: String, value: String)] = []
    /// Reaches no address of this machine or its link, unless `addresses` says otherwise: the URLs, and where they redirect
    /// to, may be anybody's. Give the store an engine of its own then, as connections are shared within one.
    public var connection = ConnectionOptions()
    /// From the call to the end of a request, retries included. Reads get the time of their bytes at 16 KiB/s on top.
    public var requestTimeoutMs = 60_000
    /// Nothing came for so long: the request is sent anew.
    public var stallTimeoutMs = 10_000
    /// Requests under way at a time.
    public var maxConnections = 32
    /// Where files are kept of servers that answer no ranges. Nothing there outlives the process.
    public var spoolDirectory = "/tmp"
    public var maxSpoolBytes: UInt64 = 16 << 30
    /// How long a page or list is used for the requests that follow it.
    public var listingTTLMs = 5_000

    public init(_ location: Location) {
        self.location = location
        connection.addresses = AddressPolicy()
        connection.bufferBytes = 256 << 10
    }

    /// As a person types it: an index where it ends in a slash, else a list.
    public init(url: String) { self.init(url.hasSuffix("/") ? .index(url) : .list(url)) }

    /// HTTP's basic authentication.
    public mutating func authenticate(user: String, password: String) {
        headers.append(("Authorization", "Basic " + Base64.encode(Array("\(user):\(password)".utf8))))
    }
}

enum Base64 {
    static func encode(_ bytes: [UInt8]) -> String {
        let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        var out: [UInt8] = []
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let group = bytes[start..<min(start + 3, bytes.count)]
            let bits = group.reduce(0) { $0 << 8 | Int($1) } << (8 * (3 - group.count))
            for i in 0..<4 {
                out.append(i <= group.count ? digits[bits >> (18 - 6 * i) & 63] : UInt8(ascii: "="))
            }
        }
        return String(decoding: out, as: UTF8.self)
    }
}
