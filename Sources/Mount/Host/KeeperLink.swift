import Glibc
import Logging
import NodeProtocol
import Threads

/// The engine's hold on the keeper. When the keeper dies, the next one is given all that this one had.
final class KeeperLink: Sendable {
    /// How long an engine waits at its start for a keeper, or for the engine before it to let go.
    static let startTimeoutMs = 60_000

    private let path: String
    private let logger: Logger
    private let records: @Sendable () -> [SessionRecord]
    private let client: Locked<KeeperClient?>
    private let isStopping = Locked(false)

    /// Connects, waiting for the keeper's start and for the end of the engine before.
    ///
    /// `records`: the sessions that live now, for a keeper that has none.
    init(
        path: String, logger: Logger, records: @escaping @Sendable () -> [SessionRecord]
    ) throws(NodeError) {
        self.path = path
        self.logger = logger
        self.records = records
        client = Locked(try Self.connect(path, deadline: .now.advanced(byMs: Self.startTimeoutMs)))
    }

    /// What the engine before left. A session that can't be read is dropped with a word in the log: to hang for ever
    /// is worse for its readers than to end.
    func inherited() throws(NodeError) -> [SessionRecord] {
        guard let client = client.withLock({ $0 }) else { throw .closed }
        var found: [SessionRecord] = []
        for id in try client.list() {
            do throws(NodeError) {
                found.append(try client.get(id))
            } catch {
                logger.error("a session cannot be taken over", metadata: ["session": "\(id)", "error": "\(error)"])
                try client.remove(id)
            }
        }
        return found
    }

    /// Begins to watch the keeper; call it once what was inherited is among `records`.
    func watch() {
        _ = Thread("keeper-link") { [self] in
            while !isStopping.withLock({ $0 }) {
                guard let client = client.withLock({ $0 }) else {
                    reconnect()
                    continue
                }
                if client.waitForEnd(deadline: .now.advanced(byMs: 1_000)) {
                    logger.error("the keeper is gone; its successor gets everything from here")
                    self.client.withLock { $0 = nil }
                }
            }
        }
    }

    func stop() {
        isStopping.withLock { $0 = true }
        client.withLock { $0?.end() }
    }

    /// Without a keeper the session is put when there is one again.
    func put(_ record: SessionRecord) {
        do throws(NodeError) {
            try client.withLock { $0 }?.put(record)
        } catch {
            logger.error(
                "the keeper did not take a session", metadata: ["session": "\(record.id)", "error": "\(error)"])
        }
    }

    func remove(_ id: String) {
        do throws(NodeError) {
            try client.withLock { $0 }?.remove(id)
        } catch {
            logger.error("the keeper did not drop a session", metadata: ["session": "\(id)", "error": "\(error)"])
        }
    }

    private static func connect(_ path: String, deadline: Instant) throws(NodeError) -> KeeperClient {
        while true {
            do throws(NodeError) {
                return try KeeperClient(path: path)
            } catch {
                guard Instant.now < deadline else { throw error }
                usleep(5_000)
            }
        }
    }

    private func reconnect() {
        guard let next = try? Self.connect(path, deadline: .now.advanced(byMs: 1_000)) else { return }
        do throws(NodeError) {
            let live = records()
            for record in live { try next.put(record) }
            // What it has and we don't was closed while it was away.
            for id in try next.list() where !live.contains(where: { $0.id == id }) { try next.remove(id) }
            client.withLock { $0 = next }
            // Sessions that came or went meanwhile were put nowhere.
            let now = records()
            for record in now { try next.put(record) }
            for record in live where !now.contains(where: { $0.id == record.id }) { try next.remove(record.id) }
            logger.info("a new keeper has the sessions", metadata: ["sessions": "\(now.count)"])
        } catch {
            next.end()
            logger.error("the new keeper did not take the sessions", metadata: ["error": "\(error)"])
        }
    }
}
