public struct APIRequest: Sendable {
    public var method: String
    /// Path and query, percent-encoded.
    public var target: String
    public var headers: [(name: String, value: String)] = []
    public var body: [UInt8] = []
    /// The whole request must be done by then; for a stream: how long it may stay silent.
    public var timeoutMs: Int

    public init(method: String, target: String, body: [UInt8] = [], timeoutMs: Int = 30_000) {
        self.method = method
        self.target = target
        self.body = body
        self.timeoutMs = timeoutMs
    }
}

public struct APIResponse: Sendable {
    public var status: Int
    /// Names in lower case.
    public var headers: [String: String]
    public var body: [UInt8]

    public init(status: Int, headers: [String: String] = [:], body: [UInt8] = []) {
        self.status = status
        self.headers = headers
        self.body = body
    }
}

/// An answer whose body comes bit by bit. If the status isn't 200, the body is that of an error.
public struct APIStream: Sendable {
    public var status: Int
    public var headers: [String: String]
    /// Ends when the server does; throws `APIError`. Ending the iteration cancels the request.
    public var body: AsyncThrowingStream<[UInt8], any Error>

    public init(status: Int, headers: [String: String], body: AsyncThrowingStream<[UInt8], any Error>) {
        self.status = status
        self.headers = headers
        self.body = body
    }
}

/// Carries requests to an API server. Failures are `APIError`s without a code.
public protocol Transport: Sendable {
    func send(_ request: APIRequest) async throws(APIError) -> APIResponse
    func stream(_ request: APIRequest) async throws(APIError) -> APIStream
}
