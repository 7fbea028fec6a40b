/// One HTTP/1.1 request.
public struct HTTPRequest: Sendable {
    public var method: String
    /// http or https, already percent-encoded; sent as it is.
    public var url: String
    public var headers: [(name: String, value: String)]
    public var body: [UInt8]?
    /// For the whole exchange; 0: no limit, for a watch.
    public var timeoutMs: Int
    /// The exchange fails once nothing has come for so long; 0: no limit.
    public var idleTimeoutMs = 0
    /// A collected body that grows beyond this fails the exchange.
    public var maxBodyBytes = 64 << 20
    public var connection = ConnectionOptions()

    public init(
        _ method: String, _ url: String, headers: [(name: String, value: String)] = [], body: [UInt8]? = nil,
        timeoutMs: Int = 30_000
    ) {
        self.method = method
        self.url = url
        self.headers = headers
        self.body = body
        self.timeoutMs = timeoutMs
    }
}

public struct HTTPResponse: Sendable {
    public var status: Int
    /// Names in lower case, in the order they came.
    public var headers: [(name: String, value: String)]
    /// Empty where the body was streamed.
    public var body: [UInt8]

    public init(status: Int, headers: [(name: String, value: String)] = [], body: [UInt8] = []) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    /// The first header of that name, which is in lower case.
    public func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }
}

/// Why there is no (whole) answer.
public enum HTTPError: Error, Sendable, Equatable {
    /// The URL, a header or the method can't be sent; says which.
    case invalidRequest(String)
    /// Nothing more came before the deadline.
    case timedOut
    case cancelled
    case bodyTooLarge(maxBytes: Int)
    /// No connection, a reset, TLS, DNS, a body that ended early: curl's words.
    case network(String)
}

extension HTTPError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .invalidRequest(let why): why
        case .timedOut: "no answer in time"
        case .cancelled: "cancelled"
        case .bodyTooLarge(let maxBytes): "the answer is larger than \(maxBytes) bytes"
        case .network(let why): why
        }
    }
}
