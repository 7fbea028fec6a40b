import ArgumentParser
import Broker
import Curl
import Kubernetes
import Logging
import PrometheusMetrics

/// The credential broker's flags.
struct BrokerOptions: ParsableArguments {
    @Flag(help: "Mint no keys for CredentialGrants; the controller then needs no right to write Secrets.")
    var noBroker = false

    /// nil: none is wanted. `addresses`: where endpoints that owners of Datasets wrote may be.
    func reconciler(
        _ client: Client, _ addresses: AddressPolicy, _ registry: Registry, _ logger: Logger
    ) -> GrantReconciler? {
        if noBroker { return nil }
        return GrantReconciler(
            client: client, sessions: STSSessions(thread: TransferThread("broker"), addresses: addresses),
            metrics: registry, logger: logger)
    }
}
