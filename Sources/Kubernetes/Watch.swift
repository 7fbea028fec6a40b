import FoundationEssentials

public enum WatchEvent<T: KubernetesObject>: Sendable {
    case added(T)
    case modified(T)
    case deleted(T)
    /// Nothing happened up to this resourceVersion.
    case bookmark(resourceVersion: String)

    public var object: T? {
        switch self {
        case .added(let object), .modified(let object), .deleted(let object): object
        case .bookmark: nil
        }
    }

    public var resourceVersion: String? {
        if case .bookmark(let version) = self { version } else { object?.metadata.resourceVersion }
    }
}

/// Cuts a byte stream into lines. A line may be at most 4 MiB (etcd's largest object is 1.5 MiB).
struct LineSplitter {
    static let longest = 4 << 20
    private var pending: [UInt8] = []

    /// The lines that are complete now, without their ends and without empty ones.
    mutating func add(_ bytes: [UInt8]) throws(APIError) -> [[UInt8]] {
        var lines: [[UInt8]] = []
        var start = 0
        while let end = bytes[start...].firstIndex(of: 0x0a) {
            let line = pending + bytes[start..<end]
            pending = []
            if !line.isEmpty { lines.append(line) }
            start = end + 1
        }
        pending += bytes[start...]
        guard pending.count <= Self.longest else { throw .badAnswer("a watch event is longer than 4 MiB") }
        return lines
    }
}

private struct WatchHead: Decodable { var type: String }
private struct WatchBody<Object: Decodable>: Decodable { var object: Object }
private struct WatchBookmark: Decodable {
    struct Metadata: Decodable { var resourceVersion: String }
    var metadata: Metadata
}

/// Reads one line of a watch. An ERROR event is thrown as the `APIError` in it.
func watchEvent<T: KubernetesObject>(_ line: [UInt8], _: T.Type = T.self) throws(APIError) -> WatchEvent<T>? {
    let head: WatchHead = try decoded(line, "watch \(T.resource.plural)")
    func object() throws(APIError) -> T {
        let body: WatchBody<T> = try decoded(line, "watch \(T.resource.plural)")
        return body.object
    }
    switch head.type {
    case "ADDED": return .added(try object())
    case "MODIFIED": return .modified(try object())
    case "DELETED": return .deleted(try object())
    case "BOOKMARK":
        let body: WatchBody<WatchBookmark> = try decoded(line, "watch \(T.resource.plural)")
        return .bookmark(resourceVersion: body.object.metadata.resourceVersion)
    case "ERROR":
        let status = (try? JSON(parsing: line))?["object"]
        throw APIError(status: status?["code"]?.integer ?? 500, headers: [:], body: status?.bytes ?? [])
    default: return nil  // A type of the future: ignored, as clients must.
    }
}

extension Client {
    /// Watches from a version on and calls `handle` for each event in order, until the server ends the watch (returns)
    /// or it fails (throws). `timeoutSeconds`: how long the server shall keep it open.
    public func watch<T: KubernetesObject>(
        _ type: T.Type, namespace: String? = nil, labelSelector: String? = nil, from resourceVersion: String,
        timeoutSeconds: Int, handle: (WatchEvent<T>) async throws(APIError) -> Void
    ) async throws(APIError) {
        var target = T.resource.path(namespace: namespace)
        target += "?watch=1&allowWatchBookmarks=true&timeoutSeconds=\(timeoutSeconds)"
        target += "&resourceVersion=\(percentEncoded(resourceVersion))"
        if let labelSelector { target += "&labelSelector=\(percentEncoded(labelSelector))" }
        var request = APIRequest(method: "GET", target: target, timeoutMs: (timeoutSeconds + 30) * 1000)
        request.headers = [("Accept", "application/json")]
        let stream = try await transport.stream(request)
        countWatch(T.resource, stream.status)
        var splitter = LineSplitter()
        var refusal: [UInt8] = []
        do {
            for try await bytes in stream.body {
                guard stream.status == 200 else {
                    refusal += bytes
                    continue
                }
                for line in try splitter.add(bytes) {
                    if let event: WatchEvent<T> = try watchEvent(line) { try await handle(event) }
                }
            }
        } catch let error as APIError {
            throw error
        } catch {
            throw .network("the watch broke: \(error)")
        }
        guard stream.status == 200 else {
            throw APIError(status: stream.status, headers: stream.headers, body: refusal)
        }
    }
}
