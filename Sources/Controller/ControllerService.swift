import Kubernetes
import Logging
import PrometheusMetrics
import Threads

/// The controller at work: five watches that fill the tables, a queue, and workers that reconcile.
public final class ControllerService: Sendable {
    public struct Settings: Sendable {
        public var workers = 8
        public var resyncSeconds = 900
        /// Status of a Dataset is written at most once in so long, however fast its consumers change.
        public var statusIntervalMs = 3_000
        public init() {}
    }

    private let client: Client
    private let reconciler: Reconciler
    private let sources: SourceObserver?
    private let settings: Settings
    private let logger: Logger
    private let queue = WorkQueue<Work>()
    private let progress = QueueProgress()
    private let reconcileSeconds: Histogram

    public init(
        client: Client, reconciler: Reconciler, sources: SourceObserver?, settings: Settings = Settings(),
        metrics: Registry, logger: Logger
    ) {
        self.client = client
        self.reconciler = reconciler
        self.sources = sources
        self.settings = settings
        self.logger = logger
        reconcileSeconds = metrics.histogram("millrace_controller_reconcile_seconds", "Time of one look at one thing.")
        let progress = progress
        metrics.computed("millrace_controller_queue_depth", "Things that wait to be looked at.") {
            Double(progress.depth)
        }
    }

    /// Works until the task is cancelled.
    public func run() async {
        progress.started()
        await withTaskCancellationHandler {
            await withTaskGroup(of: Void.self) { group in
                let gate = Gate(5)
                reflect(
                    PersistentVolumeClaim.self, gate, &group, { $0.set($1) }, { $0.updated($1) }, { $0.removed($1) },
                    { Array($0.claims.values) })
                reflect(
                    PersistentVolume.self, gate, &group, { $0.set($1) }, { $0.updated($1) }, { $0.removed($1) },
                    { Array($0.volumes.values) })
                reflect(
                    StorageClass.self, gate, &group, { $0.set($1) }, { $0.updated($1) }, { $0.removed($1) },
                    { Array($0.classes.values) })
                reflect(
                    Namespace.self, gate, &group, { $0.set($1) }, { $0.updated($1) }, { $0.removed($1) },
                    { Array($0.namespaces.values) })
                reflect(
                    Dataset.self, gate, &group, { $0.set($1) }, { $0.updated($1) }, { $0.removed($1) },
                    { Array($0.datasets.values) })
                group.addTask { [self] in
                    // Before all five tables are full, a missing Dataset would look like one that was deleted.
                    await gate.wait()
                    let works = reconciler.tables.withLock(\.allWork)
                    logger.info("tables are filled", metadata: ["work": "\(works.count)"])
                    await queue.add(works)
                    progress.synced()
                    await withTaskGroup(of: Void.self) { workers in
                        for _ in 0..<settings.workers { workers.addTask { await self.work() } }
                    }
                }
                if let sources {
                    group.addTask { [queue] in
                        await sources.run { key in await queue.add(.dataset(key)) }
                    }
                }
                group.addTask { [self] in
                    while !Task.isCancelled {
                        progress.note(await queue.health)
                        try? await Task.sleep(for: .seconds(1))
                    }
                }
            }
        } onCancel: { [queue] in
            Task { await queue.close() }
        }
        progress.stopped()
    }

    /// Whether work gets done: false when something has been under way for two minutes, or waits and nothing moves.
    public var isHealthy: Bool { progress.isHealthy }
    /// All tables are filled.
    public var isReady: Bool { progress.isSynced }

    private func work() async {
        while let work = await queue.next() {
            let started = Instant.now
            let outcome = await reconciler.reconcile(work)
            reconcileSeconds.observe(Instant.now.ms(since: started) / 1000)
            await queue.done(work, outcome)
            progress.finishedOne()
        }
    }

    fileprivate func enqueue(_ works: Set<Work>) async {
        guard !works.isEmpty else { return }
        var now: [Work] = []
        for work in works {
            // Every volume changes its Dataset's count of consumers.
            if case .dataset = work, works.count > 1 {
                await queue.add(work, afterMs: settings.statusIntervalMs)
            } else {
                now.append(work)
            }
        }
        await queue.add(now)
    }

    private func reflect<T: KubernetesObject>(
        _ type: T.Type, _ gate: Gate, _ group: inout TaskGroup<Void>,
        _ load: @escaping @Sendable (inout Tables, T) -> Void,
        _ updated: @escaping @Sendable (inout Tables, T) -> Set<Work>,
        _ removed: @escaping @Sendable (inout Tables, T) -> Set<Work>, _ known: @escaping @Sendable (Tables) -> [T]
    ) {
        let sink = TableSink<T>(
            service: self, tables: reconciler.tables, gate: gate, onLoad: load, onUpdate: updated, onRemove: removed,
            known: known)
        let reflector = Reflector(client: client, sink: sink, resyncSeconds: settings.resyncSeconds, logger: logger)
        group.addTask { await reflector.run() }
    }
}

/// Feeds one kind of object from its reflector into the tables, and what it concerns into the queue.
private final class TableSink<Object: KubernetesObject>: ReflectorSink {
    private let service: ControllerService
    private let tables: Locked<Tables>
    private let gate: Gate
    private let onLoad: @Sendable (inout Tables, Object) -> Void
    private let onUpdate: @Sendable (inout Tables, Object) -> Set<Work>
    private let onRemove: @Sendable (inout Tables, Object) -> Set<Work>
    private let known: @Sendable (Tables) -> [Object]
    private let isFilled = Locked(false)

    init(
        service: ControllerService, tables: Locked<Tables>, gate: Gate,
        onLoad: @escaping @Sendable (inout Tables, Object) -> Void,
        onUpdate: @escaping @Sendable (inout Tables, Object) -> Set<Work>,
        onRemove: @escaping @Sendable (inout Tables, Object) -> Set<Work>,
        known: @escaping @Sendable (Tables) -> [Object]
    ) {
        self.service = service
        self.tables = tables
        self.gate = gate
        self.onLoad = onLoad
        self.onUpdate = onUpdate
        self.onRemove = onRemove
        self.known = known
    }

    func replaced(with objects: [Object]) async {
        let isFirst = isFilled.withLock { filled in
            defer { filled = true }
            return !filled
        }
        let works = tables.withLock { tables in
            var works: Set<Work> = []
            if isFirst {
                // Everything is looked at once all tables are filled; what each object concerns needn't be found out.
                for object in objects { onLoad(&tables, object) }
                return works
            }
            let present = Set(objects.map(\.key))
            for gone in known(tables) where !present.contains(gone.key) { works.formUnion(onRemove(&tables, gone)) }
            for object in objects { works.formUnion(onUpdate(&tables, object)) }
            return works
        }
        await service.enqueue(works)
        if isFirst { await gate.open() }
    }

    func updated(_ object: Object) async { await service.enqueue(tables.withLock { onUpdate(&$0, object) }) }
    func removed(_ object: Object) async { await service.enqueue(tables.withLock { onRemove(&$0, object) }) }
}
