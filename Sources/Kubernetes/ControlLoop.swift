import Logging
import PrometheusMetrics
import Threads

/// One controller: watches that keep tables, a queue of keys that they fill, and workers that reconcile one key each.
///
/// Level-based: a key says only that something about it may have changed; `reconcile` looks at the tables as they are.
public final class ControlLoop: Sendable {
    private let name: String
    private let client: Client
    private let workers: Int
    private let resyncSeconds: Int
    private let logger: Logger
    private let queue = WorkQueue<ObjectKey>()
    private let progress = QueueProgress()
    private let seconds: Histogram
    private let watches = Locked<[@Sendable (Gate) async -> Void]>([])

    /// - Parameters:
    ///   - name: as it stands in logs and in the label `loop` of the metrics.
    ///   - workers: keys that are worked on at a time.
    public init(
        name: String, client: Client, workers: Int = 4, resyncSeconds: Int = 900, metrics: Registry, logger: Logger
    ) {
        self.name = name
        self.client = client
        self.workers = workers
        self.resyncSeconds = resyncSeconds
        var logger = logger
        logger[metadataKey: "loop"] = "\(name)"
        self.logger = logger
        seconds = metrics.histogram(
            "millrace_loop_reconcile_seconds", "Time of one look at one key.", ["loop": name])
        let progress = progress
        metrics.computed("millrace_loop_queue_depth", "Keys that wait to be looked at.", ["loop": name]) {
            Double(progress.depth)
        }
    }

    /// Keeps a table of these objects from `run` on. `keys`: what an object that came, changed or went concerns; a
    /// changed one is asked for as it was and as it is.
    public func watch<T: KubernetesObject>(
        _ type: T.Type, namespace: String? = nil, labelSelector: String? = nil,
        keys: @escaping @Sendable (T) -> [ObjectKey]
    ) -> ObjectTable<T> {
        let table = ObjectTable<T>()
        let (client, queue, resyncSeconds, logger) = (client, queue, resyncSeconds, logger)
        watches.withLock {
            $0.append { gate in
                let sink = LoopSink(table: table, queue: queue, gate: gate, keys: keys)
                let reflector = Reflector(
                    client: client, sink: sink, namespace: namespace, labelSelector: labelSelector,
                    resyncSeconds: resyncSeconds, logger: logger)
                await reflector.run()
            }
        }
        return table
    }

    /// Works until the task is cancelled; call it once. Nothing is reconciled before all tables are filled, as what
    /// isn't listed yet would look like something that was deleted.
    public func run(_ reconcile: @escaping @Sendable (ObjectKey) async -> WorkOutcome) async {
        progress.started()
        let watches = watches.withLock { $0 }
        let gate = Gate(watches.count)
        await withTaskCancellationHandler {
            await withTaskGroup(of: Void.self) { group in
                for watch in watches { group.addTask { await watch(gate) } }
                group.addTask { [self] in
                    await gate.wait()
                    if Task.isCancelled { return }
                    progress.synced()
                    logger.info("tables are filled")
                    await withTaskGroup(of: Void.self) { group in
                        for _ in 0..<workers { group.addTask { await self.work(reconcile) } }
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

    /// Has the key looked at, soon or after so many milliseconds.
    public func enqueue(_ key: ObjectKey, afterMs: Int = 0) {
        Task { [queue] in
            if afterMs > 0 { await queue.add(key, afterMs: afterMs) } else { await queue.add(key) }
        }
    }

    /// Whether work gets done: false when a key has been worked on for two minutes, or some wait and nothing moves.
    public var isHealthy: Bool { progress.isHealthy }
    /// All tables are filled.
    public var isSynced: Bool { progress.isSynced }

    private func work(_ reconcile: @Sendable (ObjectKey) async -> WorkOutcome) async {
        while let key = await queue.next() {
            let started = Instant.now
            let outcome = await reconcile(key)
            seconds.observe(Instant.now.ms(since: started) / 1000)
            await queue.done(key, outcome)
            progress.finishedOne()
        }
    }
}

/// Feeds one kind of object from its reflector into its table, and what it concerns into the queue.
private final class LoopSink<Object: KubernetesObject>: ReflectorSink {
    private let table: ObjectTable<Object>
    private let queue: WorkQueue<ObjectKey>
    private let gate: Gate
    private let keys: @Sendable (Object) -> [ObjectKey]
    private let isFilled = Locked(false)

    init(
        table: ObjectTable<Object>, queue: WorkQueue<ObjectKey>, gate: Gate,
        keys: @escaping @Sendable (Object) -> [ObjectKey]
    ) {
        self.table = table
        self.queue = queue
        self.gate = gate
        self.keys = keys
    }

    func replaced(with objects: [Object]) async {
        let old = table.replace(with: objects)
        await queue.add(Set((old + objects).flatMap(keys)))
        let isFirst = isFilled.withLock { isFilled in
            defer { isFilled = true }
            return !isFilled
        }
        if isFirst { await gate.open() }
    }

    func updated(_ object: Object) async {
        let old = table.set(object)
        await queue.add(Set((old.map(keys) ?? []) + keys(object)))
    }

    func removed(_ object: Object) async {
        let old = table.remove(object.key)
        await queue.add(Set((old.map(keys) ?? []) + keys(object)))
    }
}
