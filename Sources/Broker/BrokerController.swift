import Controller
import Kubernetes
import Logging
import PrometheusMetrics

/// Keeps every CredentialGrant's keys fresh, and revokes those of grants that go or lose their right.
public final class BrokerController: Sendable {
    private let loop: ControlLoop
    private let reconciler: GrantReconciler

    public init(client: Client, reconciler: GrantReconciler, workers: Int = 4, metrics: Registry, logger: Logger) {
        self.reconciler = reconciler
        loop = ControlLoop(name: "broker", client: client, workers: workers, metrics: metrics, logger: logger)
        let grants = loop.watch(CredentialGrant.self) { [$0.key] }
        // A Dataset that changes, or a namespace whose labels do, may give or take the right.
        _ = loop.watch(Dataset.self) { dataset in
            grants.all.filter { $0.datasetKey == dataset.key }.map(\.key)
        }
        _ = loop.watch(Namespace.self) { namespace in
            grants.all.filter { $0.key.namespace == namespace.key.name }.map(\.key)
        }
    }

    /// Works until the task is cancelled.
    public func run() async {
        let reconciler = reconciler
        await loop.run { await reconciler.reconcile($0) }
    }

    public var isHealthy: Bool { loop.isHealthy }
    public var isSynced: Bool { loop.isSynced }
}
