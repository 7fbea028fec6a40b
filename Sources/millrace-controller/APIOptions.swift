import API
import ArgumentParser
import Broker
import Controller
import Glibc
import Kubernetes
import Logging
import PrometheusMetrics
import S3

/// The HTTP API's flags. PVCi's environment is read as well; flags go first.
struct APIOptions: ParsableArguments {
    @Option(help: "Serve the HTTP API here, like 0.0.0.0:8443 (default: nowhere).")
    var api: String?
    @Option(help: "Serve PVCi's routes, in PVCi's shapes, here (default: where PVCi's IP and PORT say, else nowhere).")
    var apiCompat: String?
    @Option(help: "Who a request without a token is on that listener (default: nobody; it is refused).")
    var apiCompatUser: String?
    @Option(help: "The API's certificate (chain), PEM; read again when it changes.")
    var apiTLSCert: String?
    @Option(help: "The key of that certificate, PEM.")
    var apiTLSKey: String?
    @Option(help: "An audience that tokens for the API must have; can be repeated (default: the API server's own).")
    var apiAudience: [String] = []
    @Option(help: "Requests a second of one caller.")
    var apiRate = 20
    @Option(help: "Requests that one caller may make at once after a pause.")
    var apiBurst = 60
    @Option(help: "Requests that are answered at a time.")
    var apiRequests = 64
    @Option(help: "Bytes of a request's body at most.")
    var apiBodyBytes = 256 << 10

    func validate() throws {
        guard (apiTLSCert == nil) == (apiTLSKey == nil) else {
            throw ValidationError("--api-tls-cert and --api-tls-key belong together")
        }
        guard (1...100_000).contains(apiRate), (1...1_000_000).contains(apiBurst) else {
            throw ValidationError("--api-rate must be from 1 to 100000, --api-burst from 1 to 1000000")
        }
        guard (1...10_000).contains(apiRequests) else {
            throw ValidationError("--api-requests must be from 1 to 10000")
        }
        guard (1024...(64 << 20)).contains(apiBodyBytes) else {
            throw ValidationError("--api-body-bytes must be from 1024 to \(64 << 20)")
        }
        for (flag, text) in [("--api", api), ("--api-compat", apiCompat)] {
            if let text { _ = try Self.listener(text, flag) }
        }
    }

    /// `ADDRESS:PORT`; an IPv6 address has brackets.
    static func listener(_ text: String, _ flag: String) throws -> APISettings.Listener {
        guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]),
            (0...65535).contains(port)
        else { throw ValidationError("\(flag) \(text) must be ADDRESS:PORT") }
        let address = text[..<colon].filter { $0 != "[" && $0 != "]" }
        return APISettings.Listener(address: address.isEmpty ? "0.0.0.0" : String(address), port: port)
    }

    /// What to serve, and where PVCi's environment wants metrics. `settings`: nil where nothing is to be served.
    func settings(driver: String, addresses: AddressPolicy) throws -> (
        settings: APISettings?, metrics: APISettings.Listener?
    ) {
        var settings = APISettings()
        settings.driver = driver
        settings.listener = try api.map { try Self.listener($0, "--api") }
        settings.compat = try apiCompat.map { try Self.listener($0, "--api-compat") }
        settings.compatUser = apiCompatUser
        settings.certificateFile = apiTLSCert
        settings.keyFile = apiTLSKey
        settings.audiences = apiAudience
        settings.requestsPerSecond = Double(apiRate)
        settings.burst = Double(apiBurst)
        settings.mostRequests = apiRequests
        settings.mostBodyBytes = apiBodyBytes
        settings.addresses = addresses
        var environment: [String: String] = [:]
        for name in APISettings.environmentNames { environment[name] = getenv(name).map { String(cString: $0) } }
        let metrics: APISettings.Listener?
        do { metrics = try settings.read(environment: environment) } catch { throw ValidationError(error.message) }
        return (settings.listener == nil && settings.compat == nil ? nil : settings, metrics)
    }

    func service(
        _ settings: APISettings, client: Client, broker: CredentialBroker?, registry: Registry, logger: Logger
    ) throws -> APIService {
        // An engine of its own: no connection of somebody else's is used for a caller's URL.
        let probe = S3Probe(
            engine: TransferEngine(), metrics: registry, logger: logger, mostObjects: 100_000_000,
            addresses: settings.addresses)
        return try APIService(
            client: client, probe: probe, broker: broker, settings: settings, metrics: registry, logger: logger)
    }
}
