import Curl
import Logging
import Manifests
import NodeProtocol
import PrometheusMetrics
import S3
import Threads

/// A bucket, as it is now or as one of its revisions.
struct HostedS3: HostedSource {
    /// A bucket that does not answer by then is reported as unreachable.
    static let checkTimeoutMs = 15_000

    /// A manifest may have hundreds of megabytes.
    static let manifestTimeoutMs = 60_000

    let transfers: TransferEngine
    let metrics: Registry
    let logger: Logger

    func serves(_ spec: SessionSpec) -> Bool { spec.web == nil }

    func open(_ spec: SessionSpec, _ credentials: SessionCredentials) throws(NodeError) -> OpenSource {
        let live = SessionCredentialsSource(try source(credentials, for: spec))
        guard let revision = spec.revision else {
            return OpenSource(
                store: client(try configuration(spec, live)),
                check: { () throws(NodeError) in try check(spec, live) },
                renew: { credentials, triesFirst throws(NodeError) in
                    let next = try source(credentials, for: spec)
                    if triesFirst { try check(spec, next) }
                    live.replace(next)
                })
        }
        let objects = try configuration(spec, revision.isDatasetAnonymous ? StaticCredentials.anonymous : live)
        let manifests = client(try manifestConfiguration(revision, of: spec, live))
        let store = ManifestStore(store: client(objects)) { completion in
            ManifestDownload.fetch(ObjectKey(revision.key), from: manifests) { result in
                completion(result.flatMap { Self.fitting($0, spec) })
            }
        }
        return OpenSource(
            store: store, check: { () throws(NodeError) in try check(store, revision) },
            renew: { credentials, triesFirst throws(NodeError) in
                let next = try source(credentials, for: spec)
                if triesFirst { try tryManifest(revision, of: spec, next) }
                live.replace(next)
            })
    }

    /// The revision that a pointer leads to.
    func newest(
        _ pointer: String, _ revision: SessionSpec.Revision, of spec: SessionSpec, _ credentials: SessionCredentials
    ) throws(NodeError) -> String {
        let client = client(try manifestConfiguration(revision, of: spec, try source(credentials, for: spec)))
        let answer = Promise<Result<String, S3Error>>()
        RevisionPointer.fetch(ObjectKey(pointer), from: client) { answer.fulfil($0) }
        return try Self.wait(answer, "the newest revision, s3://\(revision.bucket)/\(pointer)")
    }

    /// A manifest of something else would show wrong files.
    private static func fitting(_ manifest: Manifest, _ spec: SessionSpec) -> Result<Manifest, S3Error> {
        let info = manifest.info
        guard info.bucket == spec.bucket, spec.prefix.hasPrefix(info.prefix) else {
            return .failure(
                .badAnswer(
                    "the manifest is of s3://\(info.bucket)/\(info.prefix), not of s3://\(spec.bucket)/\(spec.prefix)"))
        }
        return .success(manifest)
    }

    private func source(
        _ credentials: SessionCredentials, for spec: SessionSpec
    ) throws(NodeError) -> any CredentialsSource {
        switch credentials {
        case .anonymous: return StaticCredentials.anonymous
        case .keys(let id, let secret, let token):
            return StaticCredentials(
                Credentials(
                    accessKeyID: id, secretAccessKey: S3.Secret(secret.exposed),
                    sessionToken: token.map { S3.Secret($0.exposed) }),
                origin: "the volume's secret")
        case .webIdentity(let role, let token):
            return WebIdentityCredentials(
                roleARN: role, token: token, stsEndpoint: spec.stsEndpoint, region: region(spec),
                connection: connection(spec), engine: transfers)
        case .headers: throw .refused(.invalid, "the credentials are for a web server, and the source is a bucket")
        }
    }

    private func client(_ configuration: S3Configuration) -> S3Client {
        S3Client(configuration, engine: transfers, metrics: metrics, logger: logger)
    }

    // MARK: Checks

    /// Lists one object, so that a bucket that is not there or keys that are wrong are told before a pod starts.
    private func check(_ spec: SessionSpec, _ credentials: any CredentialsSource) throws(NodeError) {
        var configuration = try configuration(spec, credentials)
        configuration.requestTimeoutMs = Self.checkTimeoutMs - 2_000
        let client = client(configuration)
        let answer = Promise<Result<ListPage, S3Error>>()
        client.list(ListRequest(prefix: ObjectKey(spec.prefix), delimiter: 0x2f, maxKeys: 1)) { answer.fulfil($0) }
        try Self.wait(answer, "bucket \(spec.bucket) at \(configuration.endpoint)")
    }

    /// Fetches the manifest: then names are known without another request.
    private func check(_ store: ManifestStore, _ revision: SessionSpec.Revision) throws(NodeError) {
        let answer = Promise<Result<ManifestInfo, S3Error>>()
        store.prepare { answer.fulfil($0) }
        try Self.wait(
            answer, "revision \(revision.id), manifest s3://\(revision.bucket)/\(revision.key)",
            timeoutMs: Self.manifestTimeoutMs)
    }

    /// Whether these credentials may read the manifest.
    private func tryManifest(
        _ revision: SessionSpec.Revision, of spec: SessionSpec, _ credentials: any CredentialsSource
    ) throws(NodeError) {
        let client = client(try manifestConfiguration(revision, of: spec, credentials))
        let answer = Promise<Result<ObjectMetadata, S3Error>>()
        client.head(ObjectKey(revision.key)) { answer.fulfil($0) }
        try Self.wait(answer, "manifest s3://\(revision.bucket)/\(revision.key)")
    }

    @discardableResult
    static func wait<Value: Sendable>(
        _ answer: Promise<Result<Value, S3Error>>, _ place: String, timeoutMs: Int = checkTimeoutMs
    ) throws(NodeError) -> Value {
        switch answer.wait(until: .now.advanced(byMs: timeoutMs)) {
        case nil: throw .refused(.unavailable, "\(place): no answer in \(timeoutMs / 1_000) s")
        case .success(let value): return value
        case .failure(let error): throw .refused(.init(error), "\(place): \(error)")
        }
    }

    // MARK: Configuration

    private func configuration(
        _ spec: SessionSpec, _ credentials: any CredentialsSource
    ) throws(NodeError) -> S3Configuration {
        var configuration = S3Configuration(
            bucket: spec.bucket, endpoint: try endpoint(spec.endpoint, region(spec), spec.pathStyle),
            credentials: credentials)
        configuration.requesterPays = spec.requesterPays
        configuration.connection.caPEM = spec.caBundlePEM.map { Array($0.utf8) }
        return configuration
    }

    private func manifestConfiguration(
        _ revision: SessionSpec.Revision, of spec: SessionSpec, _ credentials: any CredentialsSource
    ) throws(NodeError) -> S3Configuration {
        var place = spec
        place.bucket = revision.bucket
        if let endpoint = revision.endpoint {
            place.endpoint = endpoint
            place.pathStyle = revision.pathStyle
        }
        place.region = revision.region ?? spec.region
        return try configuration(place, credentials)
    }

    private func endpoint(_ url: String?, _ region: String, _ pathStyle: Bool?) throws(NodeError) -> Endpoint {
        let addressing = pathStyle.map { $0 ? Endpoint.Addressing.path : .virtualHost }
        guard let url else { return .aws(region: region, addressing: addressing) }
        do throws(EndpointError) { return try Endpoint(url: url, region: region, addressing: addressing) } catch {
            throw .refused(.invalid, "endpoint: \(error)")
        }
    }

    private func region(_ spec: SessionSpec) -> String { spec.region ?? "us-east-1" }

    private func connection(_ spec: SessionSpec) -> ConnectionOptions {
        var connection = ConnectionOptions()
        connection.caPEM = spec.caBundlePEM.map { Array($0.utf8) }
        return connection
    }
}
