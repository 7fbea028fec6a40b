import Curl

/// Asks a running pod how it gets on.
public protocol ProgressSource: Sendable {
    /// Nil: it doesn't say. Takes two seconds at most.
    func progress(of pod: WarmPod) async -> String?
}

/// Asks over HTTP, as the pod's `--progress-address` offers it.
public final class ProgressClient: ProgressSource {
    private static let timeoutMs = 2_000
    private let thread = TransferThread("progress")
    private let http: HTTPClient

    public init() { http = HTTPClient(thread: thread) }

    deinit { thread.stop() }

    public func progress(of pod: WarmPod) async -> String? {
        guard let address = pod.status?.podIP, !address.isEmpty else { return nil }
        let host = address.contains(":") ? "[\(address)]" : address
        var request = HTTPRequest(
            "GET", "http://\(host):\(WarmPod.progressPort)/progress", timeoutMs: Self.timeoutMs)
        request.maxBodyBytes = 64 << 10
        let result = await withCheckedContinuation { continuation in
            http.send(request) { continuation.resume(returning: $0) }
        }
        guard case .success(let response) = result, response.status == 200 else { return nil }
        return String(decoding: response.body, as: UTF8.self)
    }
}
