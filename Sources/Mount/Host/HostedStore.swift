import Curl
import Glibc
import Logging
import NodeProtocol
import PrometheusMetrics
import S3
import Threads

/// Makes a session's client of the object store from what the plugin sent.
struct HostedStore {
    /// A bucket that does not answer by then is reported as unreachable.
    static let checkTimeoutMs = 15_000

    let transfers: TransferEngine
    let metrics: Registry
    let logger: Logger

    func source(_ credentials: SessionCredentials, for spec: SessionSpec) throws(NodeError) -> any CredentialsSource {
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
        }
    }

    func client(_ spec: SessionSpec, _ credentials: any CredentialsSource) throws(NodeError) -> S3Client {
        S3Client(try configuration(spec, credentials), engine: transfers, metrics: metrics, logger: logger)
    }

    /// Lists one object, so that a bucket that is not there or keys that are wrong are told before a pod starts.
    func check(_ spec: SessionSpec, _ credentials: any CredentialsSource) throws(NodeError) {
        var configuration = try configuration(spec, credentials)
        configuration.requestTimeoutMs = Self.checkTimeoutMs - 2_000
        let client = S3Client(configuration, engine: transfers, metrics: metrics, logger: logger)
        let answer = Promise<Result<ListPage, S3Error>>()
        client.list(ListRequest(prefix: ObjectKey(spec.prefix), delimiter: 0x2f, maxKeys: 1)) { answer.fulfil($0) }
        let place = "bucket \(spec.bucket) at \(configuration.endpoint)"
        switch answer.wait(until: .now.advanced(byMs: Self.checkTimeoutMs)) {
        case nil: throw .refused(.unavailable, "\(place): no answer in \(Self.checkTimeoutMs / 1_000) s")
        case .success: return
        case .failure(let error): throw .refused(Self.reason(error), "\(place): \(error)")
        }
    }

    static func reason(_ error: S3Error) -> NodeError.Reason {
        switch error {
        case .noSuchBucket, .noSuchKey: .notFound
        case .denied, .credentials: .denied
        case .network, .timedOut, .cancelled: .unavailable
        case .status(let status, _, _): status >= 500 || status == 429 ? .unavailable : .failed
        case .changed, .archived, .badAnswer: .failed
        }
    }

    private func configuration(
        _ spec: SessionSpec, _ credentials: any CredentialsSource
    ) throws(NodeError) -> S3Configuration {
        let region = region(spec)
        let addressing = spec.pathStyle.map { $0 ? Endpoint.Addressing.path : .virtualHost }
        let endpoint: Endpoint
        do throws(EndpointError) {
            endpoint =
                if let url = spec.endpoint {
                    try Endpoint(url: url, region: region, addressing: addressing)
                } else {
                    .aws(region: region, addressing: addressing)
                }
        } catch {
            throw .refused(.invalid, "endpoint: \(error)")
        }
        var configuration = S3Configuration(bucket: spec.bucket, endpoint: endpoint, credentials: credentials)
        configuration.requesterPays = spec.requesterPays
        configuration.connection.caPEM = spec.caBundlePEM.map { Array($0.utf8) }
        return configuration
    }

    private func region(_ spec: SessionSpec) -> String { spec.region ?? "us-east-1" }

    private func connection(_ spec: SessionSpec) -> ConnectionOptions {
        var connection = ConnectionOptions()
        connection.caPEM = spec.caBundlePEM.map { Array($0.utf8) }
        return connection
    }
}
