import ArgumentParser
import CLinux
import Curl
import Glibc
import Keeper
import Logging
import Logs
import Mount
import NodeProtocol
import PrometheusMetrics
import Threads

/// `millrace engine`: serves the sessions that a node plugin mounts.
struct EngineCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "engine", abstract: "Serve the mounts of a node plugin (millrace-csi starts it).")

    @Option(help: "Take the plugin's requests at this unix socket.")
    var socket: String
    @Option(help: "The keeper's socket: what it holds is taken over. Without one, no mount outlives this process.")
    var keeper: String?
    @Option(help: "UID:GID to become.")
    var user: String?
    @Option(help: "Memory for the bytes of objects.")
    var memory = ByteSize(bytes: 512 << 20)
    @Option(help: "A directory that keeps bytes of objects over restarts.")
    var cacheDir: String?
    @Option(help: "How much the cache directory may hold.")
    var cacheSize = ByteSize(bytes: 10 << 30)
    @Option(help: "What the cache directory leaves free on its disk. Default: 1G, or 5 % of a small disk.")
    var cacheMinFree: ByteSize?
    @Option(help: "Serve metrics at this address, like 127.0.0.1:9809.")
    var metrics: String?
    @Option(
        help: ArgumentHelp(
            "URLs of web servers may lead to these addresses of the machine or its link.", valueName: "cidr"))
    var allowAddress: [String] = []
    @Option(help: "End after so many seconds without a session and without a plugin.")
    var exitWhenIdle: Int?
    @Flag(help: .hidden)
    var noResend = false
    @Option(help: "Messages to write: \(LogLevel.allValueStrings.joined(separator: ", ")).")
    var logLevel = LogLevel(level: .info)
    @Option(help: "How messages look.")
    var logFormat = LogFormat.text

    mutating func validate() throws {
        if let wrong = allowAddress.first(where: { AddressRange($0) == nil }) {
            throw ValidationError("--allow-address \(wrong) is not an address or a range like 10.0.0.0/8")
        }
        if user != nil, identity == nil { throw ValidationError("--user is UID:GID in numbers") }
        if let exitWhenIdle, !(1...86_400).contains(exitWhenIdle) {
            throw ValidationError("--exit-when-idle is 1 to 86400 seconds")
        }
    }

    private var identity: (uid: UInt32, gid: UInt32)? {
        let parts = (user ?? "").split(separator: ":", omittingEmptySubsequences: false).map { UInt32($0) }
        guard parts.count == 2, let uid = parts[0], let gid = parts[1] else { return nil }
        return (uid, gid)
    }

    func run() throws {
        let termination = Termination.install()
        LogOutput.bootstrap(level: logLevel.level, format: logFormat.format)
        let logger = Logger(label: "engine")
        raiseFileLimit()
        if let identity, geteuid() == 0, clinux_become(identity.uid, identity.gid) != 0 {
            throw Failure(
                "the engine", because: "it cannot become user \(identity.uid): \(String(cString: strerror(errno)))",
                fix: "start it as root or leave --user out")
        }
        // It holds the volumes' secrets.
        _ = clinux_forbid_dumps()

        let registry = Registry()
        let engine = try Engine(
            EngineOptions(
                memoryBytes: Int(clamping: memory.bytes), cache: cacheDir.map { ($0, cacheSize.bytes) },
                cacheFreeBytes: cacheMinFree?.bytes, resends: !noResend),
            metrics: registry, logger: logger)
        let host = try EngineHost(
            engine, keeper: keeper, spoolDirectory: cacheDir ?? "/tmp",
            addresses: AddressPolicy(allowing: allowAddress.compactMap(AddressRange.init)), metrics: registry,
            logger: logger)
        let server = try FrameServer(path: socket, name: "engine", handler: host)
        let metricsServer = try metrics.map { try MetricsServer(address: $0, registry: registry) { !host.isDrained } }
        logger.info("serving", metadata: ["socket": "\(socket)", "sessions": "\(host.sessionCount)"])

        while termination.wait(until: .now.advanced(byMs: 200)) == nil && !host.isDrained {
            if let exitWhenIdle, host.sessionCount == 0, let since = server.idleSince,
                Instant.now.ms(since: since) > Double(exitWhenIdle) * 1_000
            {
                break
            }
        }
        // A drain's own answer is still to be sent; it takes a write to a socket.
        host.drain()
        server.stop()
        metricsServer?.stop()
        engine.stop()
    }

    /// A session has a few descriptors, a cached file one, a connection one.
    private func raiseFileLimit() {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        limit.rlim_cur = limit.rlim_max
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
}

/// `millrace keeper`: as `millrace-keeper`, for who has one program only.
struct KeeperCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keeper", abstract: "Hold the mounts of an engine while it is replaced (see millrace-keeper).")

    @Option(help: "The socket that engines connect to.")
    var socket: String
    @Option(help: "UID:GID to become.")
    var user: String?
    @Option(help: "End after so many seconds without a session and without an engine.")
    var exitWhenIdle: Int?

    func run() throws {
        var arguments = ["--socket", socket]
        if let user { arguments += ["--user", user] }
        if let exitWhenIdle { arguments += ["--exit-when-idle", "\(exitWhenIdle)"] }
        let options: KeeperProgram.Options
        do throws(KeeperProgram.UsageError) {
            options = try KeeperProgram.parse(arguments)
        } catch {
            throw ValidationError(error.message)
        }
        throw ExitCode(KeeperProgram.run(options))
    }
}
