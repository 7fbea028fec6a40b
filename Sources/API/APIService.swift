import Broker
import Controller
import Hummingbird
import HummingbirdCore
import Kubernetes
import Logging
import NIOCore
import PrometheusMetrics
import Threads

/// The HTTP API: its listeners, and what answers on them. It keeps nothing that a restart would lose but creations that
/// are under way, so every replica serves it.
public final class APIService: Sendable {
    private let settings: APISettings
    private let logger: Logger
    private let dispatcher: @Sendable (_ isCompat: Bool) -> Dispatcher
    let endpoints: [Endpoint]
    private let compatEndpoints: [Endpoint]
    private let certificates: Certificates?
    let claims: ClaimService
    private let ports = Locked<[Bool: Int]>([:])

    /// - Parameters:
    ///   - probe: asks S3 on behalf of callers; with an address policy of its own.
    ///   - broker: nil where no keys are minted.
    public init(
        client: Client, probe: S3Probe, broker: CredentialBroker? = nil, settings: APISettings, metrics: Registry,
        logger: Logger
    ) throws {
        self.settings = settings
        self.logger = logger
        let apiMetrics = APIMetrics(metrics, settings: settings)
        let gatekeeper = Gatekeeper(
            settings: settings, authenticator: Authenticator(client: client, audiences: settings.audiences),
            metrics: metrics)
        dispatcher = { isCompat in
            Dispatcher(
                gatekeeper: gatekeeper, metrics: apiMetrics, mostBodyBytes: settings.mostBodyBytes,
                isCompat: isCompat, logger: logger)
        }
        if let certificate = settings.certificateFile, let key = settings.keyFile {
            certificates = try Certificates(certificateFile: certificate, keyFile: key, logger: logger)
        } else {
            certificates = nil
        }
        let authorizer = Authorizer(client: client)
        let sizes = Sizes(probe: probe, settings: settings, metrics: apiMetrics)
        claims = ClaimService(
            client: client, authorizer: authorizer, sizes: sizes, settings: settings, metrics: apiMetrics,
            logger: logger)
        let compat = CompatRoutes(claims: claims, sizes: sizes, authorizer: authorizer, settings: settings).endpoints
        let resources: [any Routes] = [
            SizeRoutes(sizes: sizes, authorizer: authorizer),
            ClaimRoutes(claims: claims),
            ObjectRoutes.datasets(client, authorizer, settings.addresses),
            ObjectRoutes.imports(client, authorizer, settings.addresses),
            CredentialRoutes(broker: broker, authorizer: authorizer),
        ]
        compatEndpoints = compat
        endpoints = Self.withDocument(compat + resources.flatMap(\.endpoints), version: settings.version)
    }

    private static func withDocument(_ endpoints: [Endpoint], version: String) -> [Endpoint] {
        var document = Endpoint(
            method: .get, path: "/openapi.json", id: "getOpenAPI", summary: "This document.",
            responses: [.init(200, "An OpenAPI 3.1 document.", .free("OpenAPI 3.1"))], isPublic: true,
            handle: { _ in .done })
        let all = OpenAPI.document(endpoints + [document], version: version)
        document.handle = { _ in Answer(body: all) }
        return endpoints + [document]
    }

    /// The document of these routes.
    var document: JSON { OpenAPI.document(endpoints, version: settings.version) }

    /// The port in use, once it listens.
    public var port: Int? { ports.withLock { $0[false] } }
    public var compatPort: Int? { ports.withLock { $0[true] } }

    /// Serves until the task is cancelled; throws if it can't listen.
    public func run() async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            if let listener = settings.listener { group.addTask { try await self.serve(listener, isCompat: false) } }
            if let listener = settings.compat { group.addTask { try await self.serve(listener, isCompat: true) } }
            group.addTask { await self.claims.sweep() }
            defer { group.cancelAll() }
            try await group.next()
        }
        await claims.finishBackground()
    }

    private func serve(_ listener: APISettings.Listener, isCompat: Bool) async throws {
        let dispatcher = dispatcher(isCompat)
        var configuration = ApplicationConfiguration(address: .hostname(listener.address, port: listener.port))
        configuration.availableConnectionsDelegate = MaximumAvailableConnections(settings.mostConnections)
        var quiet = logger
        quiet.logLevel = max(.warning, logger.logLevel)
        let application = Application(
            router: dispatcher.router(isCompat ? compatEndpoints : endpoints), server: .api(settings, certificates),
            configuration: configuration,
            onServerRunning: { [self] channel in
                let port = channel.localAddress?.port ?? 0
                ports.withLock { $0[isCompat] = port }
                logger.notice(
                    "the API listens",
                    metadata: [
                        "address": "\(listener.address):\(port)", "compat": "\(isCompat)",
                        "tls": "\(certificates != nil)",
                    ])
            }, logger: quiet)
        try await application.run()
    }
}
