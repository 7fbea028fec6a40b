import CLinux
import CSIProtocol
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import Glibc
import Logging
import NodeProtocol
import Threads

/// The node plugin: what `millrace-csi` runs.
public struct Plugin: Sendable {
    public static let version = "0.1.0"
    /// Calls that block at a time; one waits for a bucket or the kernel, hardly for a processor.
    private static let maxBlockedCalls = 64
    private static let recoveryTimeoutMs = 60_000
    private static let janitorMs = 10_000
    /// An engine on a kernel that can't ask again takes up to 20 s.
    private static let drainMs = 22_000

    public enum StartError: Error, CustomStringConvertible {
        case failed(String)
        public var description: String {
            switch self {
            case .failed(let message): message
            }
        }
    }

    private let options: PluginOptions
    private let others: [any RegistrableRPCService]
    private let logger: Logger

    /// `others`: services on the CSI socket besides Identity and Node.
    public init(_ options: PluginOptions, others: [any RegistrableRPCService] = [], logger: Logger) {
        self.options = options
        self.others = others
        self.logger = logger
    }

    /// Serves until SIGTERM or SIGINT, which `Termination.block` must have blocked before any thread started. Engine,
    /// keeper and every mount live on, unless nothing is mounted: then what we started ends too.
    public func run() async throws {
        let lock = try prepare()
        defer { withExtendedLifetime(lock) {} }
        let keeperSocket = options.keeperSocket ?? options.runDirectory + "/keeper.sock"
        let engineSocket = options.engineSocket ?? options.runDirectory + "/engine.sock"
        let engine = EngineAccess(path: engineSocket)
        let sessions = SessionManager(directory: options.sessionsDirectory, engine: engine, logger: logger)
        let journal = PublicationJournal(directory: options.journalDirectory, logger: logger)
        let isRecovered = Locked(false)

        let keeperWatch = Supervisor(
            name: "keeper", socketPath: keeperSocket, start: keeperStart(keeperSocket), logger: logger)
        let engineWatch = Supervisor(
            name: "engine", socketPath: engineSocket, start: engineStart(engineSocket, keeperSocket), logger: logger,
            onStart: { if isRecovered.withLock({ $0 }) { sessions.dropDead() } })

        let pool = BlockingPool("csi-call", maxThreads: Self.maxBlockedCalls)
        let volumes = VolumeManager(
            sessions: sessions, journal: journal, ambient: options.ambientSecrets, logger: logger)
        try await pool.run { () throws(Refusal) in try recover(sessions, journal, engine) }
        isRecovered.withLock { $0 = true }

        let janitor = Periodic("janitor", everyMs: Self.janitorMs) { sessions.dropDead() }
        let services: [any RegistrableRPCService] =
            [
                IdentityService(
                    driverName: options.driverName, version: Self.version, hasController: options.hasController
                ) {
                    keeperWatch.isHealthy && engineWatch.isHealthy
                },
                NodeService(nodeID: options.nodeID, maxVolumes: options.maxVolumes, volumes: volumes, pool: pool),
            ] + others
        let registration = RegistrationService(
            driverName: options.driverName, endpoint: options.endpointForKubelet ?? options.endpoint, logger: logger)

        try await withThrowingTaskGroup(of: Void.self) { group in
            let server = try listen(options.endpoint, services)
            group.addTask { try await server.serve() }
            var servers = [server]
            if let path = options.registrationSocket {
                let registrar = try listen(path, [registration])
                group.addTask { try await registrar.serve() }
                servers.append(registrar)
            }
            logger.info("serving", metadata: ["endpoint": "\(options.endpoint)", "node": "\(options.nodeID)"])
            await Termination.wait()
            logger.info("stopping")
            if let path = options.registrationSocket { unlink(path) }
            unlink(options.endpoint)
            for server in servers { server.beginGracefulShutdown() }
            // Clients keep idle connections open; ten seconds are for calls under way.
            group.addTask { try await Task.sleep(for: .seconds(10)) }
            _ = try? await group.next()
            group.cancelAll()
        }
        janitor.stop()
        engineWatch.stop()
        keeperWatch.stop()
        if sessions.count == 0 {
            end(engineWatch, keeperWatch)
        } else if options.isContained {
            // Nothing is left unanswered, so that a kernel that can't ask again loses nothing.
            try? EngineClient(path: engineSocket).drain(timeoutMs: Self.drainMs)
        }
    }

    /// Makes the directories and waits for a plugin before us to be gone.
    private func prepare() throws -> Descriptor {
        // The kubelet's directories are there; one of our own may not be.
        var parent = ""
        for name in options.stateDirectory.split(separator: "/").dropLast() {
            parent += "/" + name
            mkdir(parent, 0o755)
        }
        for (directory, mode) in [
            (options.stateDirectory, 0o711), (options.sessionsDirectory, 0o700), (options.journalDirectory, 0o700),
            (options.runDirectory, 0o700),
        ] as [(String, UInt32)] {
            guard mkdir(directory, mode) == 0 || errno == EEXIST else {
                throw StartError.failed("cannot make \(directory): \(String(cString: strerror(errno)))")
            }
        }
        if let user = options.childUser, chown(options.runDirectory, user.uid, user.gid) != 0 {
            throw StartError.failed("cannot give \(options.runDirectory) away: \(String(cString: strerror(errno)))")
        }
        let raw = open(options.lockFile, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard raw >= 0 else { throw StartError.failed("cannot open \(options.lockFile)") }
        let lock = Descriptor(raw)
        let deadline = Instant.now.advanced(byMs: 30_000)
        while flock(raw, LOCK_EX | LOCK_NB) != 0 {
            guard Instant.now < deadline else {
                throw StartError.failed("another plugin holds \(options.lockFile); end it, or use another --state-dir")
            }
            usleep(20_000)
        }
        return lock
    }

    private func recover(
        _ sessions: SessionManager, _ journal: PublicationJournal, _ engine: EngineAccess
    ) throws(Refusal) {
        let served = try engine.call("sessions", timeoutMs: Self.recoveryTimeoutMs) {
            client, timeoutMs throws(NodeError) in
            try client.sessions(timeoutMs: min(timeoutMs, 15_000))
        }
        let recovery = sessions.recover(journal.read(), served: served, mounts: try MountInfo.all())
        for target in recovery.stalePublications { journal.remove(target) }
        for target in recovery.deadTargets {
            logger.error("a volume's session is lost; publish it again", metadata: ["target": "\(target)"])
        }
        removeLeftovers(keeping: Set(recovery.table.sessions.keys))
        logger.info(
            "took over",
            metadata: [
                "sessions": "\(recovery.table.sessions.count)", "targets": "\(recovery.table.publications.count)",
                "dead": "\(recovery.deadTargets.count)", "stale": "\(recovery.staleMounts.count)",
            ])
    }

    /// Directories of sessions that were never mounted.
    private func removeLeftovers(keeping live: Set<String>) {
        guard let entries = opendir(options.sessionsDirectory) else { return }
        defer { closedir(entries) }
        while let entry = readdir(entries) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix(".") && !live.contains(name) { rmdir(options.sessionsDirectory + "/" + name) }
        }
    }

    private func listen(
        _ path: String, _ services: [any RegistrableRPCService]
    ) throws -> GRPCServer<HTTP2ServerTransport.Posix> {
        let socket = try listeningSocket(at: path)
        return GRPCServer(
            transport: HTTP2ServerTransport.Posix(
                listeningSocketDescriptor: Int(socket), transportSecurity: .plaintext,
                // NIO refuses a client's 101st call at a time, and says so to the client only where it is set here.
                config: .defaults { $0.http2.maxConcurrentStreams = 256 }),
            services: services)
    }

    // MARK: Our engine and keeper

    private func program(_ name: String) -> String {
        var path = [CChar](repeating: 0, count: 4_096)
        let count = readlink("/proc/self/exe", &path, path.count - 1)
        let own = String(decoding: path.prefix(max(0, count)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return (own.lastIndex(of: "/").map { String(own[...$0]) } ?? "") + name
    }

    private var userArguments: [String] { options.childUser.map { ["--user", "\($0.uid):\($0.gid)"] } ?? [] }

    private func keeperStart(_ socket: String) -> Supervisor.Start? {
        guard options.keeperSocket == nil else { return nil }
        return Supervisor.Start(
            program: program("millrace-keeper"),
            arguments: ["--socket", socket, "--exit-when-idle", "60"] + userArguments,
            logFile: options.logFile("keeper"))
    }

    private func engineStart(_ socket: String, _ keeper: String) -> Supervisor.Start? {
        guard options.engineSocket == nil else { return nil }
        return Supervisor.Start(
            program: program("millrace"),
            arguments: ["engine", "--socket", socket, "--keeper", keeper, "--exit-when-idle", "60"] + userArguments
                + options.engineArguments,
            logFile: options.logFile("engine"))
    }

    private func end(_ watches: Supervisor...) {
        let ours = [options.engineSocket == nil, options.keeperSocket == nil]
        for (watch, isOurs) in zip(watches, ours) where isOurs && watch.pid > 1 {
            kill(watch.pid, SIGTERM)
        }
    }
}
