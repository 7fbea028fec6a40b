import Controller
import Kubernetes
import Logging
import PrometheusMetrics
import Threads

/// Does what the decisions about warm-ups say. One call looks at one thing; it may be cut off anywhere and come again.
///
/// A Dataset's status is written first, with the version that was read, and says which nodes have the data. Labels and
/// pods follow it: a label is taken from a node before the status lets the node go, and put on it after the status took
/// it. So no node has a label that the status doesn't know of, and never more nodes than were asked for.
final class WarmingReconciler: Sendable {
    static let finalizer = "millrace.dev/warm"

    let tables: WarmingTables
    let client: Client
    let ids: VolumeIDs
    let driver: String
    private let settings: WarmPodSettings
    private let progress: any ProgressSource
    /// Seconds since 1970.
    let now: @Sendable () -> Int
    let enqueue: @Sendable (ObjectKey) -> Void
    private let logger: Logger
    private let podsMade: Counter
    let nodesSeen = Locked<[String: NodeTraits]>([:])

    init(
        client: Client, tables: WarmingTables, ids: VolumeIDs, driver: String, settings: WarmPodSettings,
        progress: any ProgressSource, metrics: Registry, logger: Logger, now: @escaping @Sendable () -> Int,
        enqueue: @escaping @Sendable (ObjectKey) -> Void
    ) {
        self.client = client
        self.tables = tables
        self.ids = ids
        self.driver = driver
        self.settings = settings
        self.progress = progress
        self.now = now
        self.enqueue = enqueue
        self.logger = logger
        podsMade = metrics.counter("millrace_warm_pods_created_total", "Pods that bring data into nodes' caches.")
    }

    func reconcile(_ key: ObjectKey) async -> WorkOutcome {
        do throws(APIError) {
            switch WarmingTables.work(key) {
            case .dataset(let key): return try await reconcile(dataset: key)
            case .load(let key): return try await reconcile(load: key)
            case .node(let name): return try await reconcile(node: name)
            }
        } catch {
            logger.log(
                level: error.isConflict ? .debug : .warning, "will try again",
                metadata: ["key": "\(key)", "error": "\(error)"])
            return .failed(atLeastMs: (error.retryAfterSeconds ?? 0) * 1000)
        }
    }

    // MARK: Datasets

    func reconcile(dataset key: ObjectKey) async throws(APIError) -> WorkOutcome {
        guard let known = tables.datasets[key], Self.concerns(known),
            let dataset = try await found({ () async throws(APIError) in
                try await self.client.get(Dataset.self, key.name, namespace: key.namespace)
            })
        else { return .done }
        tables.datasets.set(dataset)
        guard let warm = dataset.spec.warm, !dataset.metadata.isBeingDeleted else {
            try await clean(dataset)
            return .done
        }
        guard dataset.metadata.finalizers?.contains(Self.finalizer) == true else {
            try await client.addFinalizer(Self.finalizer, to: dataset)
            return .again(afterMs: 1)
        }
        let owner = WarmOwner(dataset, warm: warm)
        let view: DatasetView
        let schedule: WarmSchedule
        do throws(Refusal) {
            view = try WarmSource.view(of: dataset)
            schedule = try WarmSchedule(warm.schedule, last: owner.status?.scheduledAt, now: now())
        } catch {
            try await takeLabels(from: owner, keeping: .refused(error))
            try await removePodsAndClaims(of: owner)
            try await write(.refused(error), error.reason, of: dataset)
            return .done
        }
        guard let claim = try await ensureClaim(owner, view) else { return .again(afterMs: 1000) }
        var decision = await decide(owner, view, run: schedule.runAt ?? "")
        decision.status.scheduledAt = schedule.runAt
        try await takeLabels(from: owner, keeping: decision.status)
        try await write(decision.status, decision.reason, of: dataset)
        try await giveLabels(decision.status, key)
        try await act(decision, owner, claim, view)
        let again = [decision.againMs, schedule.nextMs].compactMap { $0 }.min()
        return again.map { .again(afterMs: $0) } ?? .done
    }

    static func concerns(_ dataset: Dataset) -> Bool {
        dataset.spec.warm != nil || dataset.status?.warm != nil
            || dataset.metadata.finalizers?.contains(finalizer) == true
    }

    func decide(_ owner: WarmOwner, _ view: DatasetView, run: String) async -> WarmDecision {
        let pods = tables.pods(of: owner)
        var said: [String: WarmProgress] = [:]
        await withTaskGroup(of: (String, WarmProgress?).self) { group in
            for pod in pods where pod.status?.phase == "Running" {
                guard let address = pod.status?.podIP, !address.isEmpty else { continue }
                group.addTask { [progress] in
                    let report = await progress.progress(of: address, port: WarmPod.progressPort)
                    return (pod.key.name, WarmProgress(report: report))
                }
            }
            for await (name, report) in group { said[name] = report }
        }
        return WarmDecision(
            owner, .init(nodes: tables.nodes.all, pods: pods, progress: said, now: now()), view: view.digest, run: run)
    }

    func act(
        _ decision: WarmDecision, _ owner: WarmOwner, _ claim: PersistentVolumeClaim, _ view: DatasetView
    ) async throws(APIError) {
        for pod in decision.deletions { try await delete(pod) }
        for (node, attempt) in decision.creations {
            let pod = WarmPods.make(
                node, attempt: attempt, for: owner, claim: claim.key.name, mount: view.mount, settings)
            do throws(APIError) {
                tables.pods.set(try await client.create(pod))
                podsMade.add()
            } catch {
                // One of that name that ends now: the watch tells when it has.
                guard error.isAlreadyExists || error.isNamespaceTerminating else { throw error }
            }
        }
    }

    /// Of a Dataset that is deleted, or isn't to be warm any more: every node's labels, the pods, the claim, then the
    /// finalizer. The volume goes as all volumes do, after its claim.
    func clean(_ dataset: Dataset) async throws(APIError) {
        let owner = WarmOwner(dataset, warm: dataset.spec.warm ?? Dataset.Warm())
        try await takeLabels(from: owner, keeping: Dataset.WarmStatus())
        try await removePodsAndClaims(of: owner)
        if !dataset.metadata.isBeingDeleted, dataset.status?.warm != nil {
            try await write(nil, "", of: dataset)
            return enqueue(dataset.key)
        }
        try await client.removeFinalizer(Self.finalizer, from: dataset)
    }

    func removePodsAndClaims(of owner: WarmOwner) async throws(APIError) {
        let selector = "\(WarmPods.ownerLabel)=\(owner.uid)"
        // Asked for anew: what was made a moment ago may not be in the tables yet.
        let pods = try await client.list(WarmPod.self, namespace: owner.key.namespace, labelSelector: selector)
        for pod in pods.items where !pod.metadata.isBeingDeleted { try await delete(pod) }
        let claims = try await client.list(
            PersistentVolumeClaim.self, namespace: owner.key.namespace, labelSelector: selector)
        for claim in claims.items where !claim.metadata.isBeingDeleted { try await delete(claim) }
    }

    func write(_ status: Dataset.WarmStatus?, _ reason: String, of dataset: Dataset) async throws(APIError) {
        var conditions = (dataset.status?.conditions ?? []).filter { $0.type != "Warm" }
        if let status {
            let condition = Condition(
                type: "Warm", status: status.phase == .completed ? "True" : "False", reason: reason,
                message: status.message ?? "")
            conditions.append(DatasetStatus.stamped(condition, dataset, Timestamp.now()))
        }
        guard status != dataset.status?.warm || conditions != dataset.status?.conditions ?? [] else { return }
        let patch: JSON = [
            "metadata": ["resourceVersion": dataset.metadata.resourceVersion.map { .string($0) } ?? .null],
            "status": ["warm": status?.patch ?? .null, "conditions": .array(conditions.map(\.json))],
        ]
        let written = try await client.patch(
            Dataset.self, dataset.key.name, namespace: dataset.key.namespace, merge: patch, subresource: "status")
        tables.datasets.set(written)
    }

    func delete<T: KubernetesObject>(_ object: T) async throws(APIError) {
        let namespace = T.resource.isNamespaced ? object.key.namespace : nil
        do throws(APIError) {
            try await client.delete(T.self, object.key.name, namespace: namespace, uid: object.metadata.uid)
        } catch {
            guard error.isNotFound || error.isConflict else { throw error }
        }
    }

    /// Nil where it isn't there.
    func found<T>(_ call: () async throws(APIError) -> T) async throws(APIError) -> T? {
        do throws(APIError) { return try await call() } catch {
            guard error.isNotFound else { throw error }
            return nil
        }
    }
}
