import Glibc
import Logging
import NodeProtocol
import Threads

/// The sessions of the node: opened for the first volume that wants a view, closed after the last.
final class SessionManager: Sendable {
    /// The bucket is tried before a session opens, and that is given up by the engine after 15 s.
    static let openTimeoutMs = 25_000
    static let defaultReadAheadBytes = 4 << 20

    /// Where sessions' own mounts are.
    let directory: String
    private let engine: EngineAccess
    private let logger: Logger
    private let lock = Lock()
    private let changed: Condition
    private let state = State()

    /// Under `lock`.
    private final class State: @unchecked Sendable {
        var table = SessionTable()
        /// Views that a thread opens or closes now, without the lock.
        var busy: Set<SessionSpec> = []
        /// Digests of the credentials that sessions have, so that the same ones are not sent every 20 s.
        var credentials: [String: String] = [:]
    }

    init(directory: String, engine: EngineAccess, logger: Logger) {
        self.directory = directory
        self.engine = engine
        self.logger = logger
        changed = Condition(lock)
    }

    // MARK: Looking

    func publication(at target: String) -> Publication? { lock.withLock { state.table.publications[target] } }

    func publications(of volumeID: String) -> [Publication] {
        lock.withLock { state.table.publications.values.filter { $0.volumeID == volumeID } }
    }

    func published(at target: String) -> (SessionTable.Session, Publication)? {
        lock.withLock {
            guard let publication = state.table.publications[target],
                let session = state.table.sessions[publication.sessionID]
            else { return nil }
            return (session, publication)
        }
    }

    var count: Int { lock.withLock { state.table.sessions.count } }

    /// Nil where the engine doesn't know the session any more.
    func statistics(_ id: String) throws(Refusal) -> SessionStatistics? {
        try engine.call("statistics", timeoutMs: 5_000) { client, timeoutMs throws(NodeError) in
            do throws(NodeError) {
                return try client.statistics(id, timeoutMs: timeoutMs)
            } catch .refused(.notFound, _) {
                return nil
            }
        }
    }

    // MARK: Opening and closing

    /// Of a volume that shows pods that start the newest revision: which one that is now.
    func findRevision(_ content: inout PublishContent) throws(Refusal) {
        guard content.spec.revision?.pointer != nil else { return }
        let (spec, credentials) = (content.spec, content.credentials)
        let id = try engine.call("the newest revision", timeoutMs: Self.openTimeoutMs) {
            client, timeoutMs throws(NodeError) in
            try client.newestRevision(of: spec, credentials, timeoutMs: timeoutMs)
        }
        content.spec.show(revision: id)
    }

    /// The session for a volume, opened if there is none, with the volume's target counted in.
    func acquire(_ content: PublishContent, _ publication: Publication) throws(Refusal) -> SessionTable.Session {
        let found = try takeTurn(content.spec) { table in
            guard let session = table.session(for: content.spec) else { return nil }
            var publication = publication
            publication.sessionID = session.id
            table.publish(publication)
            return session
        }
        if let found {
            refresh(content, for: publication.target)
            return found
        }
        defer { endTurn(content.spec) }
        let session = try open(content)
        lock.withLock {
            var publication = publication
            publication.sessionID = session.id
            state.table.add(session)
            state.table.publish(publication)
            state.credentials[session.id] = content.credentials.digest
        }
        return session
    }

    /// A target is gone; the session goes with its last.
    func release(_ target: String) {
        let deadline = Instant.now.advanced(byMs: Self.openTimeoutMs + 5_000)
        let last = lock.withLock { () -> SessionTable.Session? in
            guard let id = state.table.unpublish(target)?.sessionID else { return nil }
            // While somebody else has the turn, the session may get another target.
            while let session = state.table.sessions[id], session.targets.isEmpty {
                if state.busy.insert(session.spec).inserted {
                    state.table.remove(id)
                    state.credentials[id] = nil
                    return session
                }
                if !changed.wait(until: deadline) { return nil }
            }
            return nil
        }
        guard let last else { return }
        close(last)
        endTurn(last.spec)
    }

    /// Answers what `find` finds, or nil once the view is this thread's to open; end that by `endTurn`.
    private func takeTurn(
        _ spec: SessionSpec, _ find: (inout SessionTable) -> SessionTable.Session?
    ) throws(Refusal) -> SessionTable.Session? {
        let deadline = Instant.now.advanced(byMs: Self.openTimeoutMs + 5_000)
        return try lock.withLock { () throws(Refusal) in
            while true {
                if !state.busy.contains(spec) {
                    if let session = find(&state.table) { return session }
                    state.busy.insert(spec)
                    return nil
                }
                guard changed.wait(until: deadline) else {
                    throw Refusal(
                        .aborted, "bucket \(spec.bucket): another volume has been opening it for long; try again")
                }
            }
        }
    }

    private func endTurn(_ spec: SessionSpec) {
        lock.withLock {
            state.busy.remove(spec)
            changed.broadcast()
        }
    }

    private func open(_ content: PublishContent) throws(Refusal) -> SessionTable.Session {
        let secrets: Descriptor
        do throws(NodeError) { secrets = try content.credentials.sealed() } catch {
            throw Refusal(error, "credentials")
        }
        let id = "s" + digest(of: Array("\(UInt64.random(in: .min ... .max))".utf8)).prefix(15)
        let (mount, fuse) = try SessionMount.create(id, in: directory)
        do throws(Refusal) {
            let opening = SessionOpening(
                id: id, spec: content.spec, connection: mount.device.minor, device: fuse, secrets: secrets)
            // An engine that dies in the middle may have eaten the kernel's first message: never tried twice.
            try engine.callOnce("open bucket \(content.spec.bucket)", timeoutMs: Self.openTimeoutMs) {
                client, timeoutMs throws(NodeError) in
                try client.open(opening, timeoutMs: timeoutMs)
            }
            mount.setReadAhead(bytes: content.spec.readAheadBytes ?? Self.defaultReadAheadBytes)
        } catch {
            try? SessionMount.remove(id, from: directory, aborts: true)
            try? engine.callOnce("close", timeoutMs: 2_000) { client, timeoutMs throws(NodeError) in
                try client.close(id, timeoutMs: timeoutMs)
            }
            throw error
        }
        logger.info(
            "opened a session",
            metadata: [
                "session": "\(id)", "bucket": "\(content.spec.bucket)", "prefix": "\(content.spec.prefix)",
                "device": "\(mount.device)",
            ])
        return SessionTable.Session(
            id: id, spec: content.spec, device: mount.device, connection: mount.device.minor)
    }

    private func close(_ session: SessionTable.Session, aborts: Bool = false) {
        do throws(Refusal) {
            try SessionMount.remove(session.id, from: directory, aborts: aborts)
        } catch {
            logger.error("cannot unmount a session", metadata: ["session": "\(session.id)", "error": "\(error)"])
        }
        do throws(Refusal) {
            try engine.call("close", timeoutMs: 10_000) { client, timeoutMs throws(NodeError) in
                try client.close(session.id, timeoutMs: timeoutMs)
            }
        } catch {
            // The recovery at the next start closes what nobody has mounted.
            logger.error("cannot close a session", metadata: ["session": "\(session.id)", "error": "\(error)"])
        }
        logger.info("closed a session", metadata: ["session": "\(session.id)"])
    }

    // MARK: Credentials

    /// A recovered publication learns its volume's id from the next call.
    func name(_ volumeID: String, at target: String) {
        lock.withLock {
            guard var publication = state.table.publications[target] else { return }
            publication.volumeID = volumeID
            state.table.publish(publication)
        }
    }

    /// Has a live session use what a volume came with, where that is right for all its volumes. Never fails.
    func refresh(_ content: PublishContent, for target: String) {
        let scope = content.spec.scope
        let digest = content.credentials.digest
        let (rotation, session, isNew) = lock.withLock {
            let id = state.table.publications[target]?.sessionID ?? ""
            return (state.table.present(scope, for: target), state.table.sessions[id], state.credentials[id] != digest)
        }
        guard let session, isNew else { return }
        if case .waiting(let others) = rotation {
            logger.warning(
                "new credentials wait until the session's other volumes have them too",
                metadata: ["session": "\(session.id)", "others": "\(others)"])
            return
        }
        do throws(Refusal) {
            // Another identity is tried on the bucket first, which the engine gives up after 15 s.
            try engine.call("update", timeoutMs: scope == session.spec.scope ? 5_000 : Self.openTimeoutMs) {
                client, timeoutMs throws(NodeError) in
                try client.update(session.id, scope: scope, content.credentials, timeoutMs: timeoutMs)
            }
            lock.withLock {
                state.table.rotated(session.id, to: scope)
                state.credentials[session.id] = digest
            }
            logger.info("renewed the credentials of a session", metadata: ["session": "\(session.id)"])
        } catch {
            logger.warning(
                "the credentials of a live session are not renewed yet",
                metadata: ["session": "\(session.id)", "error": "\(error.message)"])
        }
    }

    // MARK: Dead sessions

    /// Gives up the sessions that the engine serves no more: a FUSE connection that was aborted, or one that engine
    /// and keeper lost together. Their targets stay until their volumes are published or unpublished again.
    func dropDead() {
        let known = lock.withLock { state.table.sessions }
        guard !known.isEmpty,
            let served = try? engine.call(
                "sessions", timeoutMs: 5_000,
                { client, timeoutMs throws(NodeError) in
                    try client.sessions(timeoutMs: timeoutMs)
                })
        else { return }
        for session in known.values {
            let report = served.first { $0.id == session.id }
            if let report, report.failure == nil { continue }
            let isOurs = lock.withLock {
                guard state.table.sessions[session.id] != nil else { return false }
                state.table.remove(session.id)
                state.credentials[session.id] = nil
                return true
            }
            guard isOurs else { continue }
            logger.error(
                "a session is lost: its pods see errors until their volumes are published again",
                metadata: ["session": "\(session.id)", "cause": "\(report?.failure ?? "the engine does not know it")"])
            close(session, aborts: true)
        }
    }

    // MARK: After a restart

    /// Takes over what a plugin before this one left. Call it once, before any other call.
    func recover(_ publications: [Publication], served: [SessionReport], mounts: [MountInfo]) -> Recovery {
        let recovery = Recovery(
            publications: publications, served: served, mounts: mounts, sessionsDirectory: directory)
        for id in recovery.staleMounts { try? SessionMount.remove(id, from: directory, aborts: true) }
        for id in recovery.unmounted {
            try? engine.call("close", timeoutMs: 10_000) { client, timeoutMs throws(NodeError) in
                try client.close(id, timeoutMs: timeoutMs)
            }
        }
        lock.withLock { state.table = recovery.table }
        for session in recovery.table.sessions.values where session.targets.isEmpty {
            lock.withLock { state.table.remove(session.id) }
            close(session)
        }
        return recovery
    }
}
