import API
import ArgumentParser
import Broker
import CSIController
import Controller
import Glibc
import Kubernetes
import Logging
import Logs
import PrometheusMetrics
import RevisionControl
import S3
import Warming

struct MillraceController: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "millrace-controller",
        abstract: "Makes volumes of Datasets: provisioner, publisher and CSI controller.",
        version: "0.1.0")

    @Option(help: "Serve the CSI Controller service at this socket, like unix:///csi/csi.sock.")
    var csiEndpoint: String?
    @Flag(help: "Serve CSI alone and talk to no API server.")
    var noKubernetes = false
    @Option(help: "The driver's name, as in the CSIDriver object.")
    var driverName = Names.defaultDriver
    @Option(help: "A kubeconfig (default: KUBECONFIG, the pod's service account, ~/.kube/config).")
    var kubeconfig: String?
    @Option(
        help: "A file with the secret key of volume ids, the same for all replicas (default: made beside the socket).")
    var volumeKeyFile: String?
    @Option(help: "Where /metrics, /healthz and /readyz are served, like 0.0.0.0:9808 (default: nowhere).")
    var metrics: String?
    @Flag(help: "Lead without asking: for a single replica that never overlaps with another.")
    var noLeaderElection = false
    @Option(help: "The Lease's name.")
    var leaseName = "millrace-controller"
    @Option(help: "The Lease's namespace (default: the pod's).")
    var leaseNamespace: String?
    @Option(help: "This replica's name in the Lease (default: the host's name and a random end).")
    var identity: String?
    @Flag(
        help: "Take the leadership and every finalizer of ours away, so that nothing waits for a controller, and end.")
    var letGo = false
    @Option(help: "Things that are worked on at a time.")
    var workers = 8
    @Option(help: "Seconds between two full comparisons with the API server.")
    var resyncSeconds = 900
    @Option(help: "Seconds between two checks of a Dataset's source.")
    var probeSeconds = 300
    @Flag(help: "Don't ask Datasets' sources; the controller then needs no right on Secrets.")
    var noProbes = false
    @Option(
        help:
            "Addresses that URLs which people write may lead to though they are this machine's or its link's, like 10.0.0.0/8."
    )
    var allowAddress: [String] = []
    @OptionGroup var imports: ImportOptions
    @Flag(help: "Make no revisions of pinned Datasets; the controller then needs no right to change Datasets.")
    var noRevisions = false
    @Flag(help: "Let the policy Immediate delete pods that use what was revoked; needs rights on pods.")
    var allowEviction = false
    @Option(help: "The key of a taint to take off nodes once the driver has registered there; needs rights on nodes.")
    var startupTaint: String?
    @OptionGroup(title: "HTTP API")
    var api: APIOptions
    @OptionGroup(title: "Warm-up")
    var warm: WarmOptions
    @OptionGroup var broker: BrokerOptions
    @Option(help: "trace, debug, info, notice, warning, error or critical.")
    var logLevel = "info"
    @Option(help: "text or json.")
    var logFormat = "text"

    private var addresses: AddressPolicy { AddressPolicy(allowing: allowAddress.compactMap { AddressRange($0) }) }

    func validate() throws {
        if noKubernetes && csiEndpoint == nil {
            throw ValidationError("--no-kubernetes leaves nothing to do without --csi-endpoint")
        }
        guard (1...256).contains(workers) else { throw ValidationError("--workers must be from 1 to 256") }
        guard resyncSeconds >= 10 else { throw ValidationError("--resync-seconds must be 10 or more") }
        guard probeSeconds >= 1 else { throw ValidationError("--probe-seconds must be 1 or more") }
        if let startupTaint, !startupTaint.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) || startupTaint.isEmpty {
            throw ValidationError("--startup-taint is the taint's key, like millrace.dev/not-ready")
        }
        if let wrong = allowAddress.first(where: { AddressRange($0) == nil }) {
            throw ValidationError("--allow-address \(wrong) is not an address or a range like 10.0.0.0/8")
        }
        guard Logger.Level(rawValue: logLevel) != nil else {
            throw ValidationError("--log-level \(logLevel) isn't known")
        }
        guard LogOutput.Format(rawValue: logFormat) != nil else {
            throw ValidationError("--log-format is text or json")
        }
    }

    func run() async throws {
        LogOutput.bootstrap(level: Logger.Level(rawValue: logLevel)!, format: LogOutput.Format(rawValue: logFormat)!)
        let logger = Logger(label: "controller")
        let registry = Registry()
        do {
            if letGo { return try await letAllGo(logger) }
            let ids = VolumeIDs(key: try VolumeKey.load(file: volumeKeyFile, besides: csiEndpoint))
            if noKubernetes {
                try await serveAlone(ids, registry, logger)
            } else {
                try await serveCluster(ids, registry, logger)
            }
        } catch {
            logger.critical("cannot go on", metadata: ["error": "\(error)"])
            throw ExitCode(1)
        }
    }

    private func serveAlone(_ ids: VolumeIDs, _ registry: Registry, _ logger: Logger) async throws {
        let health = try listen(registry, isHealthy: { true }, isReady: { true })
        defer { health?.stop() }
        let server = try csiServer(VolumeService(ids: ids), isReady: { true })
        logger.info("serving CSI alone", metadata: ["endpoint": "\(csiEndpoint ?? "")"])
        try await untilTermination { try await server?.run() }
    }

    private func letAllGo(_ logger: Logger) async throws {
        let configuration = try self.configuration()
        let client = Client(transport: CurlTransport(configuration), fieldManager: Names.controller)
        try await LettingGo(client: client, election: election(client, configuration, logger), logger: logger).run()
    }

    private func configuration() throws -> Configuration {
        var environment: [String: String] = [:]
        for name in ["KUBECONFIG", "HOME", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"] {
            environment[name] = getenv(name).map { String(cString: $0) }
        }
        return try Configuration.find(kubeconfig: kubeconfig, environment: environment)
    }

    private func election(_ client: Client, _ configuration: Configuration, _ logger: Logger) -> LeaderElection {
        let random = String(UInt32.random(in: 0 ... .max), radix: 16)
        return LeaderElection(
            client: client, name: leaseName, namespace: leaseNamespace ?? configuration.namespace,
            identity: identity ?? "\(hostname())-\(random)", logger: logger)
    }

    private func serveCluster(_ ids: VolumeIDs, _ registry: Registry, _ logger: Logger) async throws {
        let configuration = try self.configuration()
        let client = Client(
            transport: CurlTransport(configuration), fieldManager: Names.controller, metrics: registry)
        var sources: SourceObserver?
        if !noProbes {
            var settings = SourceObserver.Settings()
            settings.intervalMs = probeSeconds * 1000
            let probe = SourceProbes(
                s3: S3Probe(engine: TransferEngine(), metrics: registry, logger: logger), policy: addresses)
            sources = SourceObserver(client: client, probe: probe, settings: settings, logger: logger)
        }
        let provisioning = Provisioning(ids: ids)
        let reconciler = Reconciler(
            client: client, tables: Tables(driver: driverName), provisioning: provisioning, sources: sources,
            allowsEviction: allowEviction, metrics: registry, logger: logger)
        var settings = ControllerService.Settings()
        settings.workers = workers
        settings.resyncSeconds = resyncSeconds
        let service = ControllerService(
            client: client, reconciler: reconciler, sources: sources, settings: settings, metrics: registry,
            logger: logger)
        let taints = startupTaint.map {
            StartupTaints(client: client, taint: $0, driver: driverName, metrics: registry, logger: logger)
        }
        let imports = imports.controller(
            client, allowing: allowAddress, resyncSeconds: resyncSeconds, registry, logger)
        let revisions =
            noRevisions
            ? nil
            : RevisionController(
                client: client, store: S3RevisionStore(engine: TransferEngine(), metrics: registry, logger: logger),
                policy: addresses, metrics: registry, logger: logger)
        let warming = warm.settings.map {
            WarmingController(
                client: client, ids: ids, driver: driverName, settings: $0, resyncSeconds: resyncSeconds,
                metrics: registry, logger: Logger(label: "warming"))
        }
        let minting = broker.reconciler(client, addresses, registry, logger)
        let grants = minting.map {
            BrokerController(client: client, reconciler: $0, metrics: registry, logger: logger)
        }
        let lead: @Sendable () async -> Void = {
            await withTaskGroup(of: Void.self) { group in
                group.addTask { await service.run() }
                if let imports { group.addTask { await imports.run() } }
                if let taints { group.addTask { await taints.run() } }
                if let revisions { group.addTask { await revisions.run() } }
                if let warming { group.addTask { await warming.run() } }
                if let grants { group.addTask { await grants.run() } }
            }
        }
        let (apiSettings, apiMetrics) = try api.settings(driver: driverName, addresses: addresses)
        let httpAPI = try apiSettings.map {
            try api.service(
                $0, client: client, broker: minting.map { CredentialBroker(client: client, reconciler: $0) },
                registry: registry, logger: Logger(label: "api"))
        }
        // A replica that doesn't lead is ready as well: it can take over.
        let health = try listen(
            registry, at: apiMetrics,
            isHealthy: {
                service.isHealthy && taints?.isHealthy != false && imports?.isHealthy != false
                    && revisions?.isHealthy != false && warming?.isHealthy != false && grants?.isHealthy != false
            },
            isReady: { true })
        defer { health?.stop() }
        let volumes = VolumeService(
            ids: ids,
            resolve: { key, namespace, subPath throws(Refusal) in
                try reconciler.view(of: key, for: namespace ?? "", subPath: subPath)
            }, others: { reconciler.knownVolumes })
        let server = try csiServer(volumes, isReady: { service.isReady || noLeaderElection == false })
        try await untilTermination {
            try await withThrowingTaskGroup(of: Void.self) { group in
                if let server { group.addTask { try await server.run() } }
                // Every replica answers: nothing of it depends on who leads.
                if let httpAPI { group.addTask { try await httpAPI.run() } }
                group.addTask {
                    if noLeaderElection {
                        await lead()
                        return
                    }
                    let election = self.election(client, configuration, logger)
                    // Without the lease nothing may be done any more, also not what was begun, which may take a minute to
                    // end; the kubelet starts a fresh process.
                    _ = await election.run(whenLost: { _exit(1) }, lead)
                }
                try await group.waitForAll()
            }
        }
    }

    private func csiServer(_ volumes: VolumeService, isReady: @escaping @Sendable () -> Bool) throws -> CSIServer? {
        guard let csiEndpoint else { return nil }
        return try CSIServer(
            endpoint: csiEndpoint, driver: driverName, version: Self.configuration.version, volumes: volumes,
            isReady: isReady)
    }

    private func listen(
        _ registry: Registry, at other: APISettings.Listener? = nil, isHealthy: @escaping @Sendable () -> Bool,
        isReady: @escaping @Sendable () -> Bool
    ) throws -> HealthServer? {
        guard let listener = try metrics.map({ try APIOptions.listener($0, "--metrics") }) ?? other else { return nil }
        let answers = HealthServer.Answers(isHealthy: isHealthy, isReady: isReady, metrics: registry)
        guard let server = HealthServer(address: listener.address, port: listener.port, answers) else {
            throw ValidationError(
                "--metrics \(listener.address):\(listener.port): \(String(cString: strerror(errno)))")
        }
        return server
    }

    private func hostname() -> String {
        var name = [CChar](repeating: 0, count: 256)
        gethostname(&name, name.count - 1)
        return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Runs the body until it ends or a signal comes; then cancels it and waits for it.
    private func untilTermination(_ body: @escaping @Sendable () async throws -> Void) async throws {
        let work = Task { try await body() }
        let signals = Task {
            await Termination.wait()
            work.cancel()
        }
        defer { signals.cancel() }
        do { try await work.value } catch is CancellationError {}
    }
}
