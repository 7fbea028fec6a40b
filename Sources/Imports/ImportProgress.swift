import Curl
import Kubernetes

/// Asks a pod how far its copy is.
public protocol ProgressSource: Sendable {
    /// What the pod answers at /progress; nil where it doesn't.
    func progress(of address: String, port: Int) async -> JSON?
}

/// Over HTTP, with little patience: the next look comes soon.
public struct PodProgress: ProgressSource {
    private let http: HTTPClient

    public init(thread: TransferThread) { http = HTTPClient(thread: thread) }

    public func progress(of address: String, port: Int) async -> JSON? {
        let host = address.contains(":") ? "[\(address)]" : address
        var request = HTTPRequest("GET", "http://\(host):\(port)/progress", timeoutMs: 2_000)
        request.maxBodyBytes = 64 << 10
        request.connection.proxy = .none
        let result = await withCheckedContinuation { continuation in
            _ = http.send(request) { continuation.resume(returning: $0) }
        }
        guard case .success(let response) = result, response.status == 200 else { return nil }
        return try? JSON(parsing: response.body)
    }
}

extension DatasetImport.Progress {
    /// From what `millrace cp` reports; nil where it makes no sense.
    init?(report: JSON?) {
        guard let objects = report?["objects"]?.integer, let bytes = report?["bytes"]?.integer else { return nil }
        let bytesTotal = report?["bytesTotal"]?.integer
        let objectsTotal = report?["objectsTotal"]?.integer
        self.init(objects: objects, objectsTotal: objectsTotal, bytes: bytes, bytesTotal: bytesTotal)
        if let bytesTotal, bytesTotal > 0 {
            percent = min(100, bytes * 100 / bytesTotal)
        } else if let objectsTotal, objectsTotal > 0 {
            percent = min(100, objects * 100 / objectsTotal)
        } else if objectsTotal == 0 {
            percent = 100
        }
    }
}
