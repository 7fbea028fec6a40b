import Curl

/// Asks a running pod how far its work is.
public protocol ProgressSource: Sendable {
    /// What the pod answers at /progress; nil where it doesn't.
    func progress(of address: String, port: Int) async -> JSON?
}

/// Over HTTP, with little patience: the next look comes soon.
public final class PodProgress: ProgressSource {
    private static let timeoutMs = 2_000
    private let thread = TransferThread("progress")
    private let http: HTTPClient

    public init() { http = HTTPClient(thread: thread) }

    deinit { thread.stop() }

    public func progress(of address: String, port: Int) async -> JSON? {
        let host = address.contains(":") ? "[\(address)]" : address
        var request = HTTPRequest("GET", "http://\(host):\(port)/progress", timeoutMs: Self.timeoutMs)
        request.maxBodyBytes = 64 << 10
        request.connection.proxy = .none
        let result = await withCheckedContinuation { continuation in
            _ = http.send(request) { continuation.resume(returning: $0) }
        }
        guard case .success(let response) = result, response.status == 200 else { return nil }
        return try? JSON(parsing: response.body)
    }
}
