import Curl
import Logging
import NodeProtocol
import PrometheusMetrics
import S3

/// The kinds of sources that sessions may have.
struct HostedSources {
    private let kinds: [any HostedSource]
    private let s3: HostedS3

    init(
        transfers: TransferEngine, spoolDirectory: String, addresses: AddressPolicy, metrics: Registry, logger: Logger
    ) {
        s3 = HostedS3(transfers: transfers, metrics: metrics, logger: logger)
        kinds = [HostedWeb(addresses: addresses, logger: logger, spoolDirectory: spoolDirectory), s3]
    }

    /// Which revision the spec's pointer leads to. Blocks, some seconds at most.
    func newestRevision(of spec: SessionSpec, _ credentials: SessionCredentials) throws(NodeError) -> String {
        guard let revision = spec.revision, let pointer = revision.pointer else {
            throw .refused(.invalid, "the session's source has no pointer to its newest revision")
        }
        return try s3.newest(pointer, revision, of: spec, credentials)
    }

    func open(_ spec: SessionSpec, _ credentials: SessionCredentials) throws(NodeError) -> OpenSource {
        guard let kind = kinds.first(where: { $0.serves(spec) }) else {
            throw .refused(.invalid, "the session's source is of a kind that this version does not know")
        }
        return try kind.open(spec, credentials)
    }
}
