import Curl
import Logging
import NodeProtocol
import PrometheusMetrics
import S3

/// The kinds of sources that sessions may have.
struct HostedSources {
    private let kinds: [any HostedSource]

    init(
        transfers: TransferEngine, spoolDirectory: String, addresses: AddressPolicy, metrics: Registry, logger: Logger
    ) {
        kinds = [
            HostedWeb(addresses: addresses, logger: logger, spoolDirectory: spoolDirectory),
            HostedS3(transfers: transfers, metrics: metrics, logger: logger),
        ]
    }

    func open(_ spec: SessionSpec, _ credentials: SessionCredentials) throws(NodeError) -> OpenSource {
        guard let kind = kinds.first(where: { $0.serves(spec) }) else {
            throw .refused(.invalid, "the session's source is of a kind that this version does not know")
        }
        return try kind.open(spec, credentials)
    }
}
