import ArgumentParser
import BlockCache
import Glibc
import Logging
import Logs
import Mount
import Namespace
import PrometheusMetrics
import S3
import Threads

struct MountCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mount", abstract: "Mount a bucket or a prefix on a directory.",
        discussion: """
            Returns when the mount is there and serves it in the background; with --foreground it stays until SIGTERM or \
            Ctrl-C, which unmount and exit 0. The directory must be there and empty.
            """)

    @Argument(
        help: ArgumentHelp("s3://BUCKET[/PREFIX], or an index of files: https://HOST/DIRECTORY/", valueName: "source"))
    var source: MountSource

    @Argument(help: ArgumentHelp("An empty directory.", valueName: "dir"), completion: .directory)
    var directory: String

    @Flag(name: .shortAndLong, help: "Serve the mount from this process.")
    var foreground = false

    @Option(help: ArgumentHelp("Where the log of a background mount goes. Default: nowhere.", valueName: "file"))
    var logFile: String?

    @Option(help: .hidden)
    var readyDescriptor: Int32?

    @OptionGroup var mount: MountArguments
    @OptionGroup var connection: ConnectionArguments

    func run() throws {
        if foreground || readyDescriptor != nil { return try serve() }
        _ = try Background.start(try MillraceCommand.typedArguments())
    }

    private func serve() throws {
        let termination = Termination.install()
        LogOutput.bootstrap(level: connection.logLevel.level, format: connection.logFormat.format)
        let logger = Logger(label: "millrace")
        let path = absolute(directory)
        let started = Instant.now
        try MountPoint.check(path)

        let registry = Registry()
        // Whether the source can be read is asked while everything else is set up. What it answers, the first to look at
        // the mount needs.
        let opened = try connection.open(
            source, revision: mount.revision, timeoutMs: mount.requestTimeout.ms, headersFile: mount.headers,
            spoolDirectory: mount.cacheDir, registry: registry, logger: logger)
        let engine = try makeEngine(registry, logger)
        defer { engine.stop() }
        let metrics = try mount.metrics.map { try startMetrics($0, registry) }
        defer { metrics?.stop() }
        let survivor = mount.survive ? try Survival.start(path, engine, logger) : nil
        let session: MountedSession
        let left = try survivor.flatMap {
            try failingAsMount(path, $0.takeOver(description(opened), store: opened.store, at: path))
        }
        if let left {
            session = left
        } else {
            do {
                let page = try opened.root()
                if page.objects.isEmpty && page.prefixes.isEmpty {
                    logger.warning(
                        "Nothing begins with this prefix; the mount is empty.", metadata: ["source": "\(source)"])
                }
                session = try failingAsMount(
                    path,
                    survivor?.mount(
                        description(opened), store: opened.store, at: path, allowOther: mount.allowOther,
                        root: (page, opened.sent))
                        ?? engine.mount(
                            description(opened), store: opened.store, at: path, allowOther: mount.allowOther,
                            root: (page, opened.sent)))
            } catch {
                survivor?.end()
                throw error
            }
        }
        let record = MountRecord(
            mountPoint: path, source: source.description, pid: getpid(), started: Int64(time(nil)),
            metrics: mount.metrics ?? ""
        ).keep()
        logger.log(
            level: left != nil ? .notice : .info,
            left != nil ? "Went on with the mount of the process before." : "Mounted.",
            metadata: ["source": "\(source)", "dir": "\(path)", "ms": "\(Int(Instant.now.ms(since: started)))"])
        ServiceManager.ready()
        if let readyDescriptor { Background.ready(on: readyDescriptor, logFile: logFile) }

        if termination.serve(engine, session, logger) { survivor?.end() }
        record?.remove()
    }

    private func failingAsMount<Value>(_ path: String, _ body: @autoclosure () throws -> Value) throws -> Value {
        do {
            return try body()
        } catch {
            throw Failure("cannot mount on \(path)", because: "\(error)", fix: MountPoint.fix(for: error))
        }
    }

    private func makeEngine(_ registry: Registry, _ logger: Logger) throws -> Engine {
        do {
            return try Engine(
                EngineOptions(
                    memoryBytes: Int(mount.memory.bytes),
                    cache: mount.cacheDir.map { (directory: $0, maxBytes: mount.cacheSize.bytes) },
                    cacheFreeBytes: mount.cacheMinFree?.bytes,
                    slowRequestMs: mount.slowRequest.ms),
                metrics: registry, logger: logger)
        } catch {
            throw Failure(
                "cannot start", because: "\(error)",
                fix: "give --cache-dir a directory that can be written and that no other mount uses")
        }
    }

    private func startMetrics(_ address: String, _ registry: Registry) throws -> MetricsServer {
        do {
            return try MetricsServer(address: address, registry: registry, health: { true })
        } catch {
            throw Failure(
                "cannot serve metrics on \(address)", because: "\(error)",
                fix: "give --metrics HOST:PORT with a port that is free, or leave it out")
        }
    }

    private func description(_ opened: OpenedSource) -> SessionDescription {
        SessionDescription(
            bucket: opened.bucket, prefix: opened.prefix, policy: opened.revision == nil ? policy : .immutable,
            revision: opened.revision, uid: mount.uid, gid: mount.gid, fileMode: mount.fileMode.bits,
            directoryMode: mount.dirMode.bits, readAheadBytes: Int(clamping: mount.readAhead.bytes),
            keptBytes: mount.pageCache.map { Int(clamping: $0.bytes) }, scope: scope,
            cache: CachePolicy(
                dataset: source.description, priority: mount.cachePriority, isPinned: mount.cachePin,
                quotaBytes: mount.cacheQuota?.bytes))
    }

    /// Nobody may be served another's cached bytes: who asks, and where, is part of every cached object's name. A key's
    /// ID stands for its rights; credentials that are fetched are told by where they come from.
    private var scope: String {
        let environment = Environment.process
        let who =
            connection.anonymous
            ? "anonymous"
            : environment["AWS_ACCESS_KEY_ID"] ?? environment["AWS_ROLE_ARN"] ?? connection.profile
                ?? environment["AWS_PROFILE"] ?? "default of user \(getuid())"
        let at = connection.endpoint ?? environment["AWS_ENDPOINT_URL_S3"] ?? environment["AWS_ENDPOINT_URL"] ?? "aws"
        return "\(at) \(who)"
    }

    private var policy: MetadataPolicy {
        if mount.immutable { return .immutable }
        guard let ttl = mount.metadataTTL else { return MetadataPolicy() }
        return MetadataPolicy(ttlMs: ttl.ms, negativeTTLMs: ttl.ms)
    }
}
