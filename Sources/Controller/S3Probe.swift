import Logging
import Namespace
import PrometheusMetrics
import S3
import Threads

/// Asks S3.
public final class S3Probe: SourceProbe {
    private let engine: TransferEngine
    private let metrics: Registry
    private let logger: Logger
    /// Objects that are counted at most; the count of a larger Dataset is left out.
    private let mostObjects: Int
    private let addresses: AddressPolicy?

    /// - Parameter addresses: that may be reached; nil: all. With one, the engine should be the probe's own.
    public init(
        engine: TransferEngine, metrics: Registry, logger: Logger, mostObjects: Int = 10_000_000,
        addresses: AddressPolicy? = nil
    ) {
        self.addresses = addresses
        self.engine = engine
        self.metrics = metrics
        self.logger = logger
        self.mostObjects = mostObjects
    }

    public func check(_ view: DatasetView, credentials: SourceCredentials?) async -> Observation.Finding {
        switch await firstPage(view, credentials) {
        case .success: return .reachable
        case .failure(let error): return Self.finding(error, view)
        }
    }

    public func exists(_ view: DatasetView, credentials: SourceCredentials?) async -> Bool? {
        switch await firstPage(view, credentials) {
        case .success(let page): !page.objects.isEmpty
        case .failure: nil
        }
    }

    public func count(_ view: DatasetView, credentials: SourceCredentials?) async -> (objects: Int, bytes: Int)? {
        let result = await measure(view, credentials: credentials, prefix: view.prefix, seconds: 600)
        guard case .success(let total) = result else { return nil }
        return total
    }

    /// Counts all keys that begin with `prefix`, by as many LISTs at a time as pay: a million in seconds. Ends with
    /// `.timedOut` after `seconds`, and where there are more than `mostObjects`; with `.cancelled` if the task is.
    public func measure(
        _ view: DatasetView, credentials: SourceCredentials?, prefix: String, seconds: Int
    ) async -> Result<(objects: Int, bytes: Int), S3Error> {
        let store: S3Client
        switch client(view, credentials, timeoutMs: 30_000) {
        case .failure(let error): return .failure(error)
        case .success(let client): store = client
        }
        let listing = FlatListing(store, prefix: ObjectKey(prefix))
        let isLate = Locked(false)
        let limit = Task {
            try await Task.sleep(for: .seconds(seconds))
            isLate.withLock { $0 = true }
            listing.stop()
        }
        defer { limit.cancel() }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                // Reading pages blocks, so it has a thread of its own.
                _ = Thread("count") { [mostObjects] in
                    let result = Self.total(listing, mostObjects)
                    let late = isLate.withLock { $0 }
                    continuation.resume(returning: late ? result.mapError { _ in S3Error.timedOut } : result)
                }
            }
        } onCancel: {
            listing.stop()
        }
    }

    private static func total(
        _ listing: FlatListing, _ mostObjects: Int
    ) -> Result<(objects: Int, bytes: Int), S3Error> {
        var total = (objects: 0, bytes: 0)
        do throws(ListingFailure<S3Error>) {
            try listing.forEachPage { page throws(S3Error) in
                total.objects += page.objects.count
                total.bytes += page.objects.reduce(0) { $0 + Int(clamping: $1.size) }
                if total.objects > mostObjects { throw .timedOut }
            }
            return .success(total)
        } catch {
            switch error {
            case .listing(let error), .body(let error): return .failure(error)
            }
        }
    }

    /// Why the source can't be listed, within five seconds; nil: it can.
    public func failure(_ view: DatasetView, credentials: SourceCredentials?) async -> S3Error? {
        switch await firstPage(view, credentials) {
        case .success: nil
        case .failure(let error): error
        }
    }

    private func firstPage(_ view: DatasetView, _ credentials: SourceCredentials?) async -> Result<ListPage, S3Error> {
        switch client(view, credentials, timeoutMs: 5_000) {
        case .failure(let error): return .failure(error)
        case .success(let client):
            return await list(client, ListRequest(prefix: ObjectKey(view.prefix), maxKeys: 1))
        }
    }

    private func list(_ client: S3Client, _ request: ListRequest) async -> Result<ListPage, S3Error> {
        await withCheckedContinuation { continuation in
            client.list(request) { continuation.resume(returning: $0) }
        }
    }

    private func client(
        _ view: DatasetView, _ credentials: SourceCredentials?, timeoutMs: Int
    ) -> Result<S3Client, S3Error> {
        let source = view.source
        let region = source.region ?? credentials?.region ?? "us-east-1"
        let addressing: Endpoint.Addressing? = source.pathStyle.map { $0 ? .path : .virtualHost }
        let endpoint: Endpoint
        do throws(EndpointError) {
            endpoint =
                try (source.endpoint ?? credentials?.endpoint).map { url throws(EndpointError) in
                    try Endpoint(url: url, region: region, addressing: addressing)
                } ?? Endpoint.aws(region: region, addressing: addressing)
        } catch {
            return .failure(.network(error.description))
        }
        let keys = credentials.map {
            Credentials(
                accessKeyID: $0.accessKeyID, secretAccessKey: Secret($0.secretAccessKey),
                sessionToken: $0.sessionToken.map { Secret($0) })
        }
        var configuration = S3Configuration(
            bucket: source.bucket, endpoint: endpoint,
            credentials: StaticCredentials(keys, origin: "the Dataset's Secret"))
        configuration.requesterPays = source.requesterPays ?? false
        configuration.requestTimeoutMs = timeoutMs
        configuration.connection.addresses = addresses
        configuration.connection.caPEM = source.caBundle.map { Array($0.utf8) }
        return .success(S3Client(configuration, engine: engine, metrics: metrics, logger: logger))
    }

    static func finding(_ error: S3Error, _ view: DatasetView) -> Observation.Finding {
        let place = view.source.endpoint ?? "AWS S3"
        switch error {
        case .noSuchBucket, .noSuchKey:
            return .noBucket("\(place) has no bucket \(view.source.bucket); check spec.source.s3.bucket and endpoint.")
        case .denied(let code, _):
            return .denied("\(place) refuses the credentials for bucket \(view.source.bucket) (\(code)).")
        case .credentials(let text): return .denied(text)
        case .network(let text): return .unreachable("\(place) can't be reached: \(text)")
        case .timedOut: return .unreachable("\(place) doesn't answer; check spec.source.s3.endpoint and the network.")
        default: return .unreachable("\(place) answers oddly: \(error)")
        }
    }
}
