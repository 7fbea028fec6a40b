import Controller
import Kubernetes
import Logging
import PrometheusMetrics

/// Copies what DatasetImports say onto claims.
public final class ImportController: Sendable {
    public struct Settings: Sendable {
        public var job: JobTemplate.Settings
        public var workers = 4
        public var resyncSeconds = 900
        public init(job: JobTemplate.Settings) { self.job = job }
    }

    private let loop: ControlLoop
    private let reconciler: ImportReconciler

    /// `policy`: where URLs and endpoints may lead; Jobs keep to it as well.
    public init(
        client: Client, settings: Settings, policy: AddressPolicy, progress: any ProgressSource = PodProgress(),
        metrics: Registry, logger: Logger
    ) {
        loop = ControlLoop(
            name: "imports", client: client, workers: settings.workers, resyncSeconds: settings.resyncSeconds,
            metrics: metrics, logger: logger)
        reconciler = ImportReconciler(
            tables: ImportTables(watchedBy: loop), client: client, template: JobTemplate(settings.job),
            progress: progress, policy: policy, metrics: metrics, logger: logger,
            clock: { Timestamp.secondsNow })
    }

    /// Works until the task is cancelled.
    public func run() async { await loop.run { [reconciler] key in await reconciler.reconcile(key) } }

    public var isHealthy: Bool { loop.isHealthy }
    public var isSynced: Bool { loop.isSynced }
}
