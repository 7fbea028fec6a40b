import Controller
import Kubernetes
import Logging
import PrometheusMetrics

/// Brings Datasets into nodes' caches and keeps them there: Datasets with `spec.warm`, and DatasetLoads.
public final class WarmingController: Sendable {
    private let loop: ControlLoop
    private let reconciler: WarmingReconciler

    /// - Parameters:
    ///   - ids: makes the ids of the volumes that pods mount.
    ///   - driver: the CSI driver's name.
    public init(
        client: Client, ids: VolumeIDs, driver: String = Names.defaultDriver, settings: WarmPodSettings,
        progress: any ProgressSource = PodProgress(), resyncSeconds: Int = 900, metrics: Registry, logger: Logger
    ) {
        let loop = ControlLoop(
            name: "warming", client: client, resyncSeconds: resyncSeconds, metrics: metrics, logger: logger)
        self.loop = loop
        var tables = WarmingTables()
        tables.datasets = loop.watch(Dataset.self, keys: WarmingTables.keys(of:))
        tables.loads = loop.watch(DatasetLoad.self, keys: WarmingTables.keys(of:))
        tables.nodes = loop.watch(ClusterNode.self, keys: WarmingTables.keys(of:))
        tables.pods = loop.watch(
            WarmPod.self, labelSelector: WarmPods.ownerLabel, keys: WarmingTables.keys(ownersOf:))
        tables.claims = loop.watch(
            PersistentVolumeClaim.self, labelSelector: WarmPods.ownerLabel, keys: WarmingTables.keys(ownersOf:))
        reconciler = WarmingReconciler(
            client: client, tables: tables, ids: ids, driver: driver, settings: settings, progress: progress,
            metrics: metrics, logger: logger, now: { Timestamp.secondsNow }, enqueue: { loop.enqueue($0) })
    }

    /// Works until the task is cancelled.
    public func run() async {
        await loop.run { [reconciler] key in await reconciler.reconcile(key) }
    }

    public var isHealthy: Bool { loop.isHealthy }
    public var isSynced: Bool { loop.isSynced }
}
