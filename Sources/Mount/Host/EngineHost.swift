import Curl
import Glibc
import Logging
import NodeProtocol
import PrometheusMetrics
import S3
import SystemPackage
import Threads

/// An engine for sessions that a plugin mounts: takes over what the keeper holds, then serves the plugin's requests.
public final class EngineHost: FrameHandler {
    /// Requests under way when an engine drains have this long; the kernel asks the successor what is left.
    static let drainTimeoutMs = 2_000
    /// The same where the kernel can't ask again, so that what is left fails. Pods have 30 s to end.
    static let patientDrainTimeoutMs = 20_000
    public static let version = "0.1.0"

    private let engine: Engine
    private let sources: HostedSources
    private let logger: Logger
    private let sessions: Locked<[String: HostedSession]>
    private let keeper: KeeperLink?
    private let drained = Locked(false)

    /// Everything that was kept is served when this returns.
    ///
    /// - Parameters:
    ///   - keeper: the keeper's socket; nil: nothing outlives this process.
    ///   - addresses: what web servers' URLs may lead to.
    ///   - spoolDirectory: where files of web servers without ranges are kept while they are in use.
    public init(
        _ engine: Engine, keeper: String?, spoolDirectory: String = "/tmp",
        addresses: AddressPolicy = AddressPolicy(), metrics: Registry, logger: Logger
    ) throws {
        self.engine = engine
        self.logger = logger
        sources = HostedSources(
            transfers: TransferEngine(threads: 2), spoolDirectory: spoolDirectory, addresses: addresses,
            metrics: metrics,
            logger: logger)
        let sessions = Locked<[String: HostedSession]>([:])
        self.sessions = sessions
        guard let keeper else {
            self.keeper = nil
            return
        }
        let link = try KeeperLink(path: keeper, logger: logger) {
            sessions.withLock { $0.values.map(\.record) }
        }
        self.keeper = link
        for record in try link.inherited() { adopt(record) }
        link.watch()
    }

    public var sessionCount: Int { sessions.withLock { $0.count } }
    /// True once the sessions are left to a successor: the process may exit.
    public var isDrained: Bool { drained.withLock { $0 } }

    // MARK: Requests

    public func answer(_ request: Frame, from peer: FramePeer) throws(NodeError) -> Frame {
        switch try EngineRequest(request) {
        case .ping: return Frame(.done)
        case .open(let opening): try open(opening)
        case .update(let id, let scope, let secrets): try update(id, scope, secrets)
        case .close(let id): close(id)
        case .sessions:
            return .sessions(
                sessions.withLock { Array($0.values) }.map {
                    SessionReport(
                        id: $0.record.id, spec: $0.record.spec, connection: $0.record.connection, failure: $0.failure)
                })
        case .statistics(let id):
            let known = try session(id).mounted.knownObjects
            return .statistics(SessionStatistics(bytes: known.bytes, objects: UInt64(known.count)))
        case .drain:
            guard keeper != nil else { throw .refused(.invalid, "without a keeper nobody would serve the sessions") }
            drain()
        case .newestRevision(let spec, let secrets):
            return .revision(try sources.newestRevision(of: spec, try SessionCredentials(sealed: secrets)))
        }
        return Frame(.done)
    }

    public func ended(_ peer: FramePeer) {}

    private func session(_ id: String) throws(NodeError) -> HostedSession {
        guard let session = sessions.withLock({ $0[id] }) else {
            throw .refused(.notFound, "no session \(id) is served")
        }
        return session
    }

    private func open(_ opening: SessionOpening) throws(NodeError) {
        guard !isDrained else { throw .refused(.unavailable, "the engine is being replaced") }
        guard sessions.withLock({ $0[opening.id] == nil }) else {
            throw .refused(.exists, "session \(opening.id) is served already")
        }
        let source = try sources.open(opening.spec, try SessionCredentials(sealed: opening.secrets))
        try source.check()
        let journal = try Descriptor.memory("millrace-journal")
        let requests = try Descriptor.memory("millrace-requests")
        let mounted: MountedSession
        do {
            mounted = try engine.serve(
                SessionDescription(opening.spec), store: source.store,
                descriptor: try opening.device.duplicated(), legacy: try legacy(journal, requests))
        } catch {
            throw .refused(.failed, "session \(opening.id) cannot be served: \(error)")
        }
        let record = SessionRecord(
            id: opening.id, spec: opening.spec, connection: opening.connection, initExchange: mounted.initRequest,
            writtenBy: Self.version, device: opening.device, secrets: opening.secrets, journal: journal,
            requests: requests)
        sessions.withLock { $0[opening.id] = HostedSession(record: record, mounted: mounted, source: source) }
        keeper?.put(record)
        logger.info(
            "serving a session", metadata: ["session": "\(opening.id)", "source": "\(mounted.description.source)"])
    }

    private func update(_ id: String, _ scope: String, _ secrets: Descriptor) throws(NodeError) {
        let session = try session(id)
        let isAnotherIdentity = scope != session.record.spec.scope
        // Keys that can't read what is mounted would fail live readers; those that work go on meanwhile.
        try session.source.renew(try SessionCredentials(sealed: secrets), isAnotherIdentity)
        // After the credentials: nothing that the old ones bring is kept under the new ones' name.
        if isAnotherIdentity { session.mounted.changeScope(scope) }
        let record = sessions.withLock { sessions -> SessionRecord? in
            sessions[id]?.record.secrets = secrets
            sessions[id]?.record.spec.scope = scope
            return sessions[id]?.record
        }
        if let record { keeper?.put(record) }
        logger.info("a session has new credentials", metadata: ["session": "\(id)"])
    }

    private func close(_ id: String) {
        let session = sessions.withLock { $0.removeValue(forKey: id) }
        keeper?.remove(id)
        guard let session else { return }
        engine.finish(session.mounted)
        logger.info("closed a session", metadata: ["session": "\(id)"])
    }

    // MARK: Takeover

    private func legacy(_ journal: Descriptor, _ requests: Descriptor) throws(NodeError) -> SessionLegacy {
        do throws(Errno) {
            return try SessionLegacy(
                journal: FileDescriptor(rawValue: journal.raw), requests: FileDescriptor(rawValue: requests.raw),
                logger: logger)
        } catch {
            throw .system(error, "a session's journal")
        }
    }

    private func adopt(_ record: SessionRecord) {
        let began = Instant.now
        var record = record
        do {
            let requests = try record.requests ?? Descriptor.memory("millrace-requests")
            let isFromBeforeTables = record.requests == nil
            record.requests = requests
            let source = try sources.open(record.spec, try SessionCredentials(sealed: record.secrets))
            let (mounted, unanswered) = try engine.adopt(
                SessionDescription(record.spec), store: source.store,
                descriptor: try record.device.duplicated(), legacy: try legacy(record.journal, requests))
            sessions.withLock {
                $0[record.id] = HostedSession(record: record, mounted: mounted, source: source)
            }
            // Else the next engine would not know what was asked of this one.
            if isFromBeforeTables { keeper?.put(record) }
            logger.info(
                "took a session over",
                metadata: [
                    "session": "\(record.id)", "from": "\(record.writtenBy)",
                    "ms": "\(Int(Instant.now.ms(since: began)))",
                ])
            if case .failed(let requests) = unanswered, !requests.isEmpty {
                logger.error(
                    "the engine before ended with requests under way, and the kernel (before 6.9) can't ask again: they failed",
                    metadata: ["session": "\(record.id)", "requests": "\(requests.count)"])
            }
        } catch {
            logger.error(
                "a session cannot be taken over; its readers get errors",
                metadata: ["session": "\(record.id)", "error": "\(error)"])
            keeper?.remove(record.id)
        }
    }

    /// Leaves the sessions to the keeper.
    public func drain() {
        guard
            drained.withLock({ isDrained in
                defer { isDrained = true }
                return !isDrained
            })
        else { return }
        let deadline = Instant.now.advanced(
            byMs: engine.canResend ? Self.drainTimeoutMs : Self.patientDrainTimeoutMs)
        for session in sessions.withLock({ Array($0.values) }) { engine.detach(session.mounted, deadline: deadline) }
        keeper?.stop()
        logger.info("left the sessions to the next engine")
    }
}
