import BlockCache
import FileSystem
import Fuse
import Glibc
import Logging
import Namespace
import PrometheusMetrics
import S3
import SystemPackage
import Threads

/// Everything that serves mounts in one process: its threads, its memory, and any number of sessions that share them.
///
/// Its calls may block up to their deadlines; none may be made on a thread of the engine's own.
public final class Engine: Sendable {
    private let server: Server
    private let cache: BlockCache
    private let disk: DiskCache?
    private let invalidator = Invalidator()
    private let idle: IdleWatch
    private let metrics: Registry
    private let operationMetrics: OperationMetrics
    private let resends: Bool
    private let logger: Logger
    private let live = Locked<[MountedSession]>([])

    /// Throws where the cache directory can't be used, or threads can't be started.
    public init(_ options: EngineOptions, metrics: Registry, logger: Logger) throws {
        self.metrics = metrics
        self.logger = logger
        resends = options.resends
        let disk = try options.cache.map {
            try DiskCache(
                directory: $0.directory, maxBytes: $0.maxBytes, reservedFreeBytes: options.cacheFreeBytes,
                metrics: metrics, logger: logger)
        }
        let cache = BlockCache(memoryBytes: options.memoryBytes, disk: disk, metrics: metrics, logger: logger)
        self.cache = cache
        self.disk = disk
        idle = IdleWatch(afterMs: options.idleMs) { cache.releaseIdleMemory() }
        operationMetrics = OperationMetrics(metrics, slowMs: options.slowRequestMs, idle: idle, logger: logger)
        server = try Server(workers: options.workers)
        metrics.computed("millrace_sessions", "Mounts that are served.") { [live] in Double(live.withLock { $0.count })
        }
    }

    deinit { stop() }

    /// Whether the kernel asks a successor what this engine leaves unanswered.
    var canResend: Bool { resends && sessions.allSatisfy { $0.session.exchange.offered.contains(.resend) } }

    public var sessions: [MountedSession] { live.withLock { $0 } }

    // MARK: - Beginning

    /// Mounts at an existing directory and serves. A dead mount of ours that it finds there, as a crash leaves it, is
    /// detached first. `root`: the first page of its listing and when it was asked for, so that the first `ls` or open
    /// needn't ask again.
    public func mount(
        _ description: SessionDescription, store: any ObjectStore, at path: String, allowOther: Bool = true,
        legacy: SessionLegacy? = nil, root: (page: ListPage, sent: Instant)? = nil
    ) throws(MountError) -> MountedSession {
        let path = MountPath.resolved(path)
        try DeadMount.detach(at: path, logger: logger)
        let descriptor = try Mounter.mount(.init(source: description.source, allowOther: allowOther), at: path)
        do throws(MountError) {
            let session = try serve(description, store: store, descriptor: descriptor, legacy: legacy, path: path)
            if let root { session.operations.fileSystem.namespace.begin(with: root.page, sent: root.sent) }
            tuneReadAhead(description, path)
            return session
        } catch {
            try? Mounter.unmount(path, lazily: true)
            throw error
        }
    }

    /// Serves a connection that somebody else has just mounted: the kernel's FUSE_INIT is still to be answered.
    /// `descriptor` is the engine's from here on. What a successor needs goes into `legacy`.
    public func serve(
        _ description: SessionDescription, store: any ObjectStore, descriptor: FileDescriptor,
        legacy: SessionLegacy? = nil, path: String? = nil
    ) throws(MountError) -> MountedSession {
        let ended = Promise<Session.Ending>()
        let operations = operations(description, store, legacy?.journal, ended)
        do throws(Errno) {
            let session = try Session.start(
                descriptor, operations, passthrough: description.passesThrough, requests: legacy?.requests,
                logger: logger)
            legacy?.journal.initialized(session.exchange)
            return try begin(session, description, path, operations, ended)
        } catch {
            throw MountError(.other, "the connection to the kernel fails: \(error)")
        }
    }

    /// Takes over a session whose engine is gone, from its journal: inodes, open files and directories go on, and what
    /// was asked and not answered is asked again.
    ///
    /// Where the kernel can't ask again (before Linux 6.9), exactly what the dead engine had read fails with EIO. After
    /// `detach`, nothing is left unanswered, so nothing fails.
    public func adopt(
        _ description: SessionDescription, store: any ObjectStore, descriptor: FileDescriptor, legacy: SessionLegacy,
        path: String? = nil
    ) throws(MountError) -> (session: MountedSession, unanswered: Session.Unanswered) {
        let journal = legacy.journal
        guard let request = journal.inherited.initRequest, let exchange = InitExchange(request: request) else {
            try? descriptor.close()
            throw MountError(.other, "the session's journal has no handshake: it was never served")
        }
        let ended = Promise<Session.Ending>()
        let operations = operations(description, store, journal, ended)
        operations.restore(journal.inherited)
        do throws(Errno) {
            let (session, unanswered) = try Session.resume(
                descriptor, exchange, operations, passthrough: description.passesThrough, requests: legacy.requests,
                resends: resends, logger: logger)
            if case .failed(let uniques) = unanswered { operations.dropUnanswered(Set(uniques)) }
            return (try begin(session, description, path, operations, ended), unanswered)
        } catch {
            throw MountError(.other, "the connection to the kernel fails: \(error)")
        }
    }

    private func operations(
        _ description: SessionDescription, _ store: any ObjectStore, _ journal: SessionJournal?,
        _ ended: Promise<Session.Ending>
    ) -> SessionOperations {
        let namespace = Namespace(
            store: store, prefix: description.prefix, policy: description.policy, metrics: metrics, logger: logger)
        let fileSystem = FileSystem(
            store: store, namespace: namespace, cache: cache,
            options: FileSystemOptions(
                scope: description.scope, bucket: description.bucket, readAheadBytes: description.readAheadBytes,
                keptBytes: description.keptBytes ?? sysconf(Int32(_SC_PHYS_PAGES)) * Int(getpagesize()) / 16,
                kernelReadAheadBytes: description.kernelReadAheadKiB << 10,
                passesThrough: description.passesThrough, cache: description.cache),
            metrics: metrics, logger: logger)
        return SessionOperations(
            fileSystem, description, journal: journal, metrics: operationMetrics, invalidator: invalidator,
            logger: logger, onEnd: { ended.fulfil($0) })
    }

    private func begin(
        _ session: Session, _ description: SessionDescription, _ path: String?, _ operations: SessionOperations,
        _ ended: Promise<Session.Ending>
    ) throws(Errno) -> MountedSession {
        operations.connect(session)
        let mounted = MountedSession(description, path: path, operations, session, ended: ended)
        live.withLock { $0.append(mounted) }
        do throws(Errno) {
            try server.add(session)
        } catch {
            forget(mounted)
            throw error
        }
        return mounted
    }

    private func tuneReadAhead(_ description: SessionDescription, _ path: String) {
        guard let entry = MountTable.entry(at: path) else { return }
        if !Mounter.setReadAhead(kib: description.kernelReadAheadKiB, of: entry) {
            logger.debug("The kernel's read-ahead stays as it is: setting it takes root.", metadata: ["dir": "\(path)"])
        }
    }

    // MARK: - Ending

    /// Serves a session no longer and leaves it mounted, for a successor: what was begun is answered, what the kernel
    /// asks from now on waits for whoever holds a copy of the descriptor. False where requests were still unanswered at
    /// the deadline; the successor's kernel asks them again.
    @discardableResult
    public func detach(_ mounted: MountedSession, deadline: Instant = .now.advanced(byMs: 5000)) -> Bool {
        server.remove(mounted.session)
        let isDone = waitUntil(deadline) { mounted.session.requestsInFlight == 0 }
        // In this order: what the kernel was told is in the journal.
        mounted.session.seal()
        mounted.operations.journal?.seal()
        forget(mounted)
        mounted.operations.end()
        return isDone
    }

    /// Unmounts. A mount that is in use is tried again until the deadline; then it is detached with `lazily` (and served
    /// until its last user leaves), else the error says who uses it.
    public func unmount(
        _ mounted: MountedSession, lazily: Bool = false, deadline: Instant = .now.advanced(byMs: 10_000)
    ) throws(MountError) {
        guard let path = mounted.path else {
            throw MountError(.notMounted, "\(mounted.description.source) was mounted by somebody else, who unmounts it")
        }
        let device = MountTable.entry(at: path)?.device
        while mounted.ended.wait(until: .now) == nil {
            do throws(MountError) {
                try Mounter.unmount(path)
                break
            } catch {
                switch error.reason {
                case .notMounted: break
                case .busy where deadline > .now:
                    _ = mounted.ended.wait(until: min(deadline, .now.advanced(byMs: 100)))
                    continue
                case .busy where lazily:
                    try Mounter.unmount(path, lazily: true)
                    return
                case .busy:
                    let holders = MountHolders.find(path, device: device ?? 0)
                    throw MountError(.busy, "\(path) is in use" + MountHolders.sentence(holders))
                default: throw error
                }
                break
            }
        }
        _ = mounted.ended.wait(until: .now.advanced(byMs: 5000))
        finish(mounted)
    }

    /// After the kernel has ended the connection.
    public func finish(_ mounted: MountedSession) {
        server.remove(mounted.session)
        forget(mounted)
        mounted.operations.end()
    }

    /// Ends everything. Sessions that are still mounted stay so for who holds a copy of their descriptor, else they are
    /// dead.
    public func stop() {
        for mounted in sessions { detach(mounted, deadline: .now.advanced(byMs: 2000)) }
        server.stop()
        invalidator.stop()
        idle.stop()
        disk?.close()
    }

    private func forget(_ mounted: MountedSession) { live.withLock { $0.removeAll { $0 === mounted } } }

    private func waitUntil(_ deadline: Instant, _ condition: () -> Bool) -> Bool {
        while !condition() {
            if deadline <= .now { return false }
            usleep(1000)
        }
        return true
    }
}
