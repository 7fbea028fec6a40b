import Controller
import Kubernetes
import Logging
import Manifests
import PrometheusMetrics
import Threads

/// Makes revisions of pinned Datasets, keeps them, and removes those that nobody needs. Its word is the Dataset's
/// status: what is recorded there is what volumes are made of.
public final class RevisionController: Sendable {
    let client: Client
    let store: any RevisionStore
    let jobs: RevisionJobs
    let events: EventRecorder
    let logger: Logger
    let now: @Sendable () -> Int
    private let loop: ControlLoop
    let datasets: ObjectTable<Dataset>
    let volumes: ObjectTable<RevisionVolume>
    /// Datasets whose revision is being made: it may take minutes, which no worker of the loop has.
    private let building = Locked<[ObjectKey: Task<Void, Never>]>([:])
    /// What was written last of each Dataset; until the watch has brought it, the table is behind.
    private let written = Locked<[ObjectKey: Int]>([:])
    private let built: Counter
    private let failed: Counter
    let removed: Counter

    /// A Dataset that goes is let go after so long though its manifests can't be deleted.
    static let leaveSeconds = 600
    /// Each lists a whole source.
    static let mostBuilds = 4

    /// - Parameter policy: where endpoints may lead; nil: anywhere.
    public init(
        client: Client, store: any RevisionStore, policy: AddressPolicy? = nil, metrics: Registry, logger: Logger,
        now: (@Sendable () -> Int)? = nil
    ) {
        self.client = client
        self.store = store
        self.logger = logger
        self.now = now ?? { Timestamp.secondsNow }
        jobs = RevisionJobs(client: client, policy: policy)
        events = EventRecorder(client: client, component: Names.controller, logger: logger)
        loop = ControlLoop(name: "revisions", client: client, metrics: metrics, logger: logger)
        datasets = loop.watch(Dataset.self) { [$0.key] }
        volumes = loop.watch(RevisionVolume.self) { $0.shown.map { [$0.dataset] } ?? [] }
        built = metrics.counter("millrace_revisions_built_total", "Revisions made.")
        failed = metrics.counter("millrace_revisions_failed_total", "Revisions that could not be made.")
        removed = metrics.counter("millrace_revisions_removed_total", "Manifests removed.")
    }

    /// Works until the task is cancelled.
    public func run() async {
        await loop.run { [self] key in await reconcile(key) }
        let tasks = building.withLock { Array($0.values) }
        for task in tasks { task.cancel() }
        for task in tasks { await task.value }
    }

    public var isHealthy: Bool { loop.isHealthy }

    // MARK: One Dataset

    func reconcile(_ key: ObjectKey) async -> WorkOutcome {
        guard let dataset = datasets[key] else {
            written.withLock { $0[key] = nil }
            return .done
        }
        if let last = written.withLock({ $0[key] }), let seen = dataset.metadata.resourceVersion.flatMap({ Int($0) }) {
            if seen < last { return .again(afterMs: 100) }
            written.withLock { $0[key] = nil }
        }
        do throws(APIError) {
            let known = Set(volumes.all.compactMap { $0.shown }.filter { $0.dataset == key }.map(\.id))
            let plan = RevisionPlan.decide(dataset, used: known, now: now())
            var outcome = WorkOutcome.done
            for step in plan.steps {
                switch step {
                case .wait(let until):
                    if until < .max { outcome = Self.sooner(outcome, afterMs: max(until - now(), 1) * 1000) }
                case .refuse(let why): try await write(state("Failed", why, of: dataset), to: dataset)
                case .point(let record): startPointing(dataset, to: record)
                case .remove(let records):
                    if try await remove(records, from: dataset) { outcome = Self.sooner(outcome, afterMs: 60_000) }
                case .leave: return try await leave(dataset)
                case .build(let why, let request): try await startBuild(of: dataset, why, request)
                }
            }
            return outcome
        } catch {
            logger.log(
                level: error.isConflict ? .debug : .warning, "will try again",
                metadata: ["dataset": "\(key)", "error": "\(error)"])
            return .failed(atLeastMs: (error.retryAfterSeconds ?? 0) * 1000)
        }
    }

    private static func sooner(_ outcome: WorkOutcome, afterMs: Int) -> WorkOutcome {
        if case .again(let ms) = outcome { .again(afterMs: min(ms, afterMs)) } else { .again(afterMs: afterMs) }
    }

    // MARK: Making one

    private func startBuild(of dataset: Dataset, _ why: String, _ request: String?) async throws(APIError) {
        let key = dataset.key
        let isUnderWay = building.withLock { $0[key] != nil }
        if isUnderWay { return }
        if building.withLock({ $0.count >= Self.mostBuilds }) { return loop.enqueue(key, afterMs: 5_000) }
        // Before anything is kept: a Dataset that goes takes its manifests along.
        if !(dataset.metadata.finalizers?.contains(RevisionPlan.finalizer) ?? false) {
            try await client.addFinalizer(RevisionPlan.finalizer, to: dataset)
        }
        try await write(state("Building", "A revision is being made, as \(why).", of: dataset), to: dataset)
        startTask(key) { [self] in await build(dataset, request) }
    }

    /// One at a time for a Dataset; looks at it again at the end.
    func startTask(_ key: ObjectKey, _ body: @escaping @Sendable () async -> Void) {
        building.withLock { building in
            guard building[key] == nil else { return }
            building[key] = Task { [self] in
                await body()
                self.building.withLock { _ = $0.removeValue(forKey: key) }
                if !Task.isCancelled { loop.enqueue(key) }
            }
        }
    }

    private func build(_ dataset: Dataset, _ request: String?) async {
        let started = now()
        var result: Dataset.RevisionState
        var record: Dataset.RevisionRecord?
        do throws(RevisionFailure) {
            let job = try await jobs.job(for: dataset)
            await removeOrphans(job, dataset)
            let newest = dataset.newestRevision
            // Later than every other, whatever the clock says.
            var id = RevisionPlan.id(at: started)
            if let last = dataset.status?.revisions?.map(\.id).max(), id <= last { id = "\(last)1" }
            if let info = try await store.build(job, id: id, created: Int64(started), unlessDigest: newest?.digest) {
                record = self.record(info, id, job, dataset, started)
                result = state(
                    "Ready", "Revision \(id) has \(info.objects) objects, \(info.versioned) of them by version ID.",
                    of: dataset)
                built.add()
            } else {
                result = state("Ready", "Nothing has changed since revision \(newest?.id ?? "").", of: dataset)
            }
        } catch {
            if Task.isCancelled { return }
            failed.add()
            result = state("Failed", error.description, of: dataset)
            await events.record(
                .warning, on: ObjectReference(dataset), reason: "RevisionFailed", message: error.description)
        }
        result.lastAttempt = Timestamp.at(started)
        result.request = request
        // What can't be written now would be lost: the manifest that is there already is an orphan then, and goes with the
        // next attempt.
        for attempt in 0..<8 {
            do throws(APIError) {
                try await write(result, adding: record, to: dataset)
                return
            } catch {
                if error.isNotFound || Task.isCancelled { return }
                logger.warning(
                    "a revision can't be recorded", metadata: ["dataset": "\(dataset.key)", "error": "\(error)"])
                try? await Task.sleep(for: .milliseconds(Int.random(in: 0...(200 << attempt))))
            }
        }
    }

    private func record(
        _ info: ManifestInfo, _ id: String, _ job: RevisionJob, _ dataset: Dataset, _ started: Int
    ) -> Dataset.RevisionRecord {
        var record = Dataset.RevisionRecord(
            id: id, manifest: "s3://\(job.store.bucket)/\(job.place(of: id)?.objectKey.description ?? "")",
            createdAt: Timestamp.at(started), objects: Int(clamping: info.objects), bytes: Int(clamping: info.bytes),
            digest: info.digest, source: dataset.sourceDigest)
        record.endpoint = job.store.endpoint
        record.region = job.store.region
        record.pathStyle = job.store.endpoint == nil ? nil : job.store.pathStyle
        return record
    }

    /// Manifests that no status tells of: somebody was cut off between keeping and recording one. Builds of a Dataset come
    /// one after another and by the leader alone, so none of them is about to be recorded.
    private func removeOrphans(_ job: RevisionJob, _ dataset: Dataset) async {
        do {
            let current = try await client.get(Dataset.self, dataset.key.name, namespace: dataset.key.namespace)
            let known = Set((current.status?.revisions ?? []).map(\.id))
            let used = try await used(current)
            for id in try await store.ids(job) where !known.contains(id) && !used.contains(id) {
                try await store.remove(id: id, job)
                removed.add()
            }
        } catch {
            logger.debug("orphans are left", metadata: ["dataset": "\(dataset.key)", "error": "\(error)"])
        }
    }

    // MARK: Status

    func state(_ phase: String, _ message: String, of dataset: Dataset) -> Dataset.RevisionState {
        var state = Dataset.RevisionState(phase: phase, message: message)
        state.lastAttempt = dataset.status?.revision?.lastAttempt
        state.request = dataset.status?.revision?.request
        state.current = dataset.status?.revision?.current
        return state
    }

    func write(
        _ state: Dataset.RevisionState, adding record: Dataset.RevisionRecord? = nil, to dataset: Dataset
    ) async throws(APIError) {
        var state = state
        if let schedule = dataset.spec.revision?.schedule.flatMap({ try? CronSchedule($0) }) {
            let last = state.lastAttempt.flatMap { Timestamp.seconds($0) } ?? now()
            state.next = schedule.next(after: last).map { Timestamp.at($0) }
        }
        if record == nil, state == dataset.status?.revision { return }
        var status: JSON = ["revision": state.json]
        var version: String?
        if let record {
            // As it is now: others may have gone meanwhile.
            let known = try await client.get(Dataset.self, dataset.key.name, namespace: dataset.key.namespace)
            guard known.metadata.uid == dataset.metadata.uid else { return }
            version = known.metadata.resourceVersion
            status["revisions"] = .array(([record] + (known.status?.revisions ?? [])).map(\.json))
        }
        try await patch(dataset, status, only: version)
    }

    /// - Parameter version: fails with a conflict where the Dataset is another one by now, as a list is replaced whole.
    func patch(_ dataset: Dataset, _ status: JSON, only version: String?) async throws(APIError) {
        var patch: JSON = ["status": status]
        patch.set("metadata", "uid", to: dataset.metadata.uid.map { .string($0) })
        patch.set("metadata", "resourceVersion", to: version.map { .string($0) })
        let answer = try await client.patch(
            Dataset.self, dataset.key.name, namespace: dataset.key.namespace, merge: patch, subresource: "status")
        // The table is the watch's alone: an answer may be older than what that has brought meanwhile.
        let version = answer.metadata.resourceVersion.flatMap { Int($0) }
        self.written.withLock { $0[dataset.key] = version }
    }
}
