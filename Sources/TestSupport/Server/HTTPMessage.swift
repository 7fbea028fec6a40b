import Glibc

struct HTTPRequest {
    var method: String
    /// As sent, without the query.
    var rawPath: String
    /// Decoded, in the order sent.
    var query: [(name: [UInt8], value: [UInt8])]
    /// Names in lower case.
    var headers: [(name: String, value: String)]
    var body: [UInt8] = []
    var keepsAlive: Bool

    func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }

    mutating func removeHeader(_ name: String) { headers.removeAll { $0.name == name } }

    /// A query parameter's value, empty where it has none.
    func parameter(_ name: String) -> [UInt8]? {
        let name = Array(name.utf8)
        return query.first { $0.name == name }?.value
    }

    func text(_ name: String) -> String? { parameter(name).map { String(decoding: $0, as: UTF8.self) } }
}

struct HTTPResponse {
    enum Body {
        case bytes([UInt8])
        case object(ObjectBody, Range<UInt64>)

        var count: UInt64 {
            switch self {
            case .bytes(let bytes): UInt64(bytes.count)
            case .object(_, let range): range.upperBound - range.lowerBound
            }
        }
    }

    var status: Int
    var headers: [(name: String, value: String)] = []
    var body: Body = .bytes([])
    /// HEAD: the length is said, the body isn't sent.
    var isHead = false

    mutating func set(_ name: String, _ value: String) {
        headers.removeAll { $0.name == name }
        headers.append((name, value))
    }

    static func xml(_ text: String, status: Int = 200) -> HTTPResponse {
        HTTPResponse(
            status: status, headers: [("Content-Type", "application/xml")],
            body: .bytes(Array(("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" + text).utf8)))
    }

    /// S3's error document. `extra`: more elements, as XML.
    static func error(_ status: Int, _ code: String, _ message: String, extra: String = "") -> HTTPResponse {
        xml(
            "<Error><Code>\(xmlEscaped(code))</Code><Message>\(xmlEscaped(message))</Message>\(extra)"
                + "<RequestId>TESTSUPPORT</RequestId></Error>", status: status)
    }
}

func reason(_ status: Int) -> String {
    switch status {
    case 200: "OK"
    case 204: "No Content"
    case 206: "Partial Content"
    case 301: "Moved Permanently"
    case 304: "Not Modified"
    case 307: "Temporary Redirect"
    case 400: "Bad Request"
    case 403: "Forbidden"
    case 404: "Not Found"
    case 409: "Conflict"
    case 412: "Precondition Failed"
    case 416: "Requested Range Not Satisfiable"
    case 500: "Internal Server Error"
    case 503: "Slow Down"
    default: "Status"
    }
}

/// The range of a Range header over `size` bytes: nil where it is absent or to be ignored, empty where unsatisfiable.
func byteRange(_ header: String?, size: UInt64) -> Range<UInt64>? {
    guard let header, header.hasPrefix("bytes=") else { return nil }
    let parts = header.dropFirst(6).split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2 else { return nil }
    switch (UInt64(parts[0]), UInt64(parts[1])) {
    case (let first?, let last?): return first > last ? nil : min(first, size)..<min(last &+ 1, size)
    case (let first?, nil) where parts[1].isEmpty: return min(first, size)..<size
    case (nil, let count?) where parts[0].isEmpty: return size - min(count, size)..<size
    default: return nil
    }
}
