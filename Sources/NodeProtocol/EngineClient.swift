import Threads

/// A connection to an engine: one call at a time.
public final class EngineClient: Sendable {
    private let client: FrameClient
    public var serverPID: Int32 { client.serverPID }

    public init(path: String) throws(NodeError) { client = try FrameClient(connectingTo: path) }

    public func ping(timeoutMs: Int) throws(NodeError) {
        try client.call(EngineRequest.ping.frame, timeoutMs: timeoutMs)
    }

    /// Has a session served; the bucket was reached with the credentials when this answers.
    public func open(_ opening: SessionOpening, timeoutMs: Int) throws(NodeError) {
        try client.call(EngineRequest.open(opening).frame, timeoutMs: timeoutMs)
    }

    public func update(
        _ id: String, scope: String, _ credentials: SessionCredentials, timeoutMs: Int = 5_000
    ) throws(NodeError) {
        let secrets = try credentials.sealed()
        try client.call(EngineRequest.update(id: id, scope: scope, secrets: secrets).frame, timeoutMs: timeoutMs)
    }

    /// Ends a session; one that is not there is no error.
    public func close(_ id: String, timeoutMs: Int = 10_000) throws(NodeError) {
        try client.call(EngineRequest.close(id: id).frame, timeoutMs: timeoutMs)
    }

    public func sessions(timeoutMs: Int = 5_000) throws(NodeError) -> [SessionReport] {
        try client.call(EngineRequest.sessions.frame, timeoutMs: timeoutMs).sessions()
    }

    public func statistics(_ id: String, timeoutMs: Int = 5_000) throws(NodeError) -> SessionStatistics {
        let fields = try client.call(EngineRequest.statistics(id: id).frame, timeoutMs: timeoutMs).fields
        return SessionStatistics(
            bytes: UInt64(clamping: fields.number(EngineRequest.Tag.bytes) ?? 0),
            objects: UInt64(clamping: fields.number(EngineRequest.Tag.objects) ?? 0))
    }

    /// The ID of the revision that the spec's pointer leads to now.
    public func newestRevision(
        of spec: SessionSpec, _ credentials: SessionCredentials, timeoutMs: Int
    ) throws(NodeError) -> String {
        let request = EngineRequest.newestRevision(spec, secrets: try credentials.sealed())
        return try client.call(request.frame, timeoutMs: timeoutMs).fields.required(
            EngineRequest.Tag.revision, "the revision")
    }

    public func drain(timeoutMs: Int = 10_000) throws(NodeError) {
        try client.call(EngineRequest.drain.frame, timeoutMs: timeoutMs)
    }

    public func waitForEnd(deadline: Instant) -> Bool { client.waitForEnd(deadline: deadline) }

    public func end() { client.end() }
}
