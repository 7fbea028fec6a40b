import Controller
import Kubernetes
import Logging
import PrometheusMetrics

/// Does what the plans say, for one import or one claim at a time. It may be cut off anywhere and be called again.
final class ImportReconciler: Sendable {
    let tables: ImportTables
    let client: Client
    let template: JobTemplate
    let progress: any ProgressSource
    let policy: AddressPolicy
    let events: EventRecorder
    let logger: Logger
    let clock: @Sendable () -> Int
    private let ended: [Bool: Counter]
    private let failed: Counter
    /// How often a running Job is asked.
    static let pollMs = 2_000
    /// When to look again at what no watch tells.
    static let patientMs = 30_000

    init(
        tables: ImportTables, client: Client, template: JobTemplate, progress: any ProgressSource,
        policy: AddressPolicy,
        metrics: Registry, logger: Logger, clock: @escaping @Sendable () -> Int
    ) {
        self.tables = tables
        self.client = client
        self.template = template
        self.progress = progress
        self.policy = policy
        self.logger = logger
        self.clock = clock
        events = EventRecorder(client: client, component: Names.controller, logger: logger)
        let help = "Imports that ended."
        ended = [
            true: metrics.counter("millrace_imports_ended_total", help, ["result": "succeeded"]),
            false: metrics.counter("millrace_imports_ended_total", help, ["result": "failed"]),
        ]
        failed = metrics.counter(
            "millrace_imports_reconcile_failures_total", "Looks that ended in an error and come again.")
    }

    func reconcile(_ key: ObjectKey) async -> WorkOutcome {
        do throws(APIError) {
            guard key.name.hasPrefix(ImportTables.claimPrefix) else { return try await reconcile(import: key) }
            let name = String(key.name.dropFirst(ImportTables.claimPrefix.count))
            return try await reconcile(claim: ObjectKey(namespace: key.namespace, name: name))
        } catch {
            failed.add()
            // Conflicts are the normal end of a race: the next look sees what won.
            logger.log(
                level: error.isConflict ? .debug : .warning, "will try again",
                metadata: ["key": "\(key)", "error": "\(error)"])
            return .failed(atLeastMs: (error.retryAfterSeconds ?? 0) * 1000)
        }
    }

    private func reconcile(import key: ObjectKey) async throws(APIError) -> WorkOutcome {
        guard let item = tables.imports[key] else { return .done }
        if item.metadata.isBeingDeleted { return try await remove(item) }
        if item.metadata.finalizers?.contains(ImportNames.finalizer) != true, !item.isSourceOnly {
            try await client.addFinalizer(ImportNames.finalizer, to: item)
            return .again(afterMs: 0)
        }
        let isCleaned = item.metadata.annotations?[ImportNames.cleanup] == "true"
        if item.isOver || isCleaned { return try await afterwards(item, isCleaned: isCleaned) }
        if let problem = ImportCheck.problem(item) {
            return try await refuse(item, problem.reason, problem.message)
        }
        for (field, url) in ImportCheck.urls(item) {
            do throws(Refusal) { try await policy.check(url: url, field: field) } catch {
                return try await refuse(item, error.reason, error.message)
            }
        }
        if item.isScheduled { return try await reconcile(scheduled: item) }
        guard let claim = item.ownClaimName else {
            try await move(item, .ready, "Ready", "Claims may name it in their dataSourceRef.")
            return .done
        }
        return try await fill(item, claim, job: ImportNames.job(uid: item.uid))
    }

    // MARK: Filling a claim

    func fill(_ item: DatasetImport, _ claimName: String, job jobName: String) async throws(APIError) -> WorkOutcome {
        let namespace = item.metadata.namespace
        let claim = tables.claims[ObjectKey(namespace: namespace, name: claimName)]
        let job = tables.jobs[ObjectKey(namespace: namespace, name: jobName)]
        let step = FillPlan.decide(
            item, claimName: claimName, claim: claim, holder: try await holder(of: claim, besides: item), job: job)
        switch step {
        case .makeClaim:
            try await make(SchedulePlan.claim(claimName, for: item))
            return .again(afterMs: 0)
        case .hold:
            try await hold(claim!, by: item)
            return .again(afterMs: 0)
        case .makeJob:
            try await make(
                template.job(jobName, for: item, filling: claimName, owner: PopulatePlan.owner(item), uid: item.uid))
            try await move(item, .running, "Copying", "The Job \(jobName) copies into claim \(claimName).") {
                ($0.claimName, $0.jobName) = (claimName, jobName)
            }
            return .again(afterMs: Self.pollMs)
        case .follow:
            try await follow(item, claimName, job!)
            return .again(afterMs: Self.pollMs)
        case .conclude:
            try await conclude(item, claimName, job!)
            return .again(afterMs: 0)
        case .wait(let reason, let message):
            try await move(item, .pending, reason, message)
            return .again(afterMs: Self.patientMs)
        case .refuse(let reason, let message): return try await refuse(item, reason, message)
        }
    }

    /// Who fills the claim, as its annotation says; nil where that one has ended or is gone. Asked of the API server, as
    /// two must never fill one claim.
    private func holder(
        of claim: PersistentVolumeClaim?, besides item: DatasetImport
    ) async throws(APIError) -> String? {
        guard let mark = claim?.metadata.annotations?[ImportNames.filledBy], mark != FillPlan.mark(item) else {
            return nil
        }
        let parts = mark.split(separator: "/").map(String.init)
        guard parts.count == 2 else { return nil }
        do throws(APIError) {
            let other = try await client.get(DatasetImport.self, parts[0], namespace: item.metadata.namespace)
            return other.uid == parts[1] && !other.isOver ? mark : nil
        } catch {
            guard error.isNotFound else { throw error }
            return nil
        }
    }

    /// With the version that was looked at: of two that want it at once one gets a conflict and looks again.
    private func hold(_ claim: PersistentVolumeClaim, by item: DatasetImport) async throws(APIError) {
        try await mark(claim, .string(FillPlan.mark(item)))
    }

    private func release(_ name: String?, by item: DatasetImport) async throws(APIError) {
        guard let name, let claim = tables.claims[ObjectKey(namespace: item.metadata.namespace, name: name)],
            claim.metadata.annotations?[ImportNames.filledBy] == FillPlan.mark(item)
        else { return }
        try await mark(claim, .null)
    }

    private func mark(_ claim: PersistentVolumeClaim, _ value: JSON) async throws(APIError) {
        var metadata: JSON = ["annotations": [ImportNames.filledBy: value]]
        metadata["resourceVersion"] = claim.metadata.resourceVersion.map { .string($0) }
        do throws(APIError) {
            tables.claims.set(
                try await client.patch(
                    PersistentVolumeClaim.self, claim.metadata.name ?? "", namespace: claim.metadata.namespace,
                    merge: ["metadata": metadata]))
        } catch {
            guard error.isNotFound else { throw error }
        }
    }

    private func follow(_ item: DatasetImport, _ claimName: String, _ job: Job) async throws(APIError) {
        let pods = try await pods(of: job)
        let report = await ask(pods)
        let status = pods.last?.status
        var message = "The Job \(job.metadata.name ?? "") copies into claim \(claimName)."
        if report == nil, let words = status?.container?.state?.waiting.flatMap({ _ in status?.lastWords }) {
            message += " Now \(words)."
        }
        try await move(item, .running, "Copying", message) {
            ($0.claimName, $0.jobName) = (claimName, job.metadata.name)
            $0.progress = DatasetImport.Progress(report: report) ?? $0.progress
            $0.restarts = job.status?.failed ?? 0
        }
    }

    /// Writes how it ended; the claim is let go by the next look, which sees that it is over.
    private func conclude(_ item: DatasetImport, _ claimName: String, _ job: Job) async throws(APIError) {
        let pods = try await pods(of: job)
        let report = lastReport(pods)
        let isWhole = job.hasSucceeded
        let progress = DatasetImport.Progress(report: report)
        let said = report?["message"]?.string.flatMap { $0.isEmpty ? nil : $0 }
        let why = said ?? lastWords(pods) ?? job.failure?.message ?? "The Job failed."
        let message = isWhole ? "Everything is in claim \(claimName)." : why
        ended[isWhole]?.add()
        if item.isScheduled {
            try await conclude(run: item, isWhole, message, progress)
            return
        }
        try await move(
            item, isWhole ? .succeeded : .failed, isWhole ? "Completed" : job.failure?.reason ?? "Failed", message
        ) {
            ($0.claimName, $0.jobName) = (claimName, job.metadata.name)
            $0.progress = progress ?? $0.progress
            $0.restarts = job.status?.failed ?? 0
        }
        await events.record(
            isWhole ? .normal : .warning, on: ObjectReference(item), reason: isWhole ? "Imported" : "ImportFailed",
            message: message)
    }

    // MARK: The end

    private func refuse(_ item: DatasetImport, _ reason: String, _ message: String) async throws(APIError)
        -> WorkOutcome
    {
        try await move(item, .failed, reason, message)
        await events.record(.warning, on: ObjectReference(item), reason: reason, message: message)
        return .again(afterMs: 0)
    }

    /// It is over: the claim is let go, and the Job goes where that was asked for.
    private func afterwards(_ item: DatasetImport, isCleaned: Bool) async throws(APIError) -> WorkOutcome {
        if isCleaned {
            guard try await deleteJobs(of: item) else { return .again(afterMs: 1_000) }
            if !item.isOver { try await move(item, .failed, "CleanedUp", "It was cleaned up before its end.") }
        }
        try await release(item.status?.claimName ?? item.ownClaimName, by: item)
        return .done
    }

    /// The import is being deleted: nothing may write any more before it is gone.
    private func remove(_ item: DatasetImport) async throws(APIError) -> WorkOutcome {
        guard try await deleteJobs(of: item) else { return .again(afterMs: 1_000) }
        try await release(item.status?.claimName ?? item.ownClaimName, by: item)
        try await release(item.status?.current?.claimName, by: item)
        try await client.removeFinalizer(ImportNames.finalizer, from: item)
        return .done
    }

    /// True once no Job of it is left, nor a pod of one.
    private func deleteJobs(of item: DatasetImport) async throws(APIError) -> Bool {
        let jobs = tables.jobs.all.filter {
            $0.metadata.namespace == item.metadata.namespace && $0.metadata.labels?[ImportNames.uidLabel] == item.uid
        }
        for job in jobs where !job.metadata.isBeingDeleted { try await delete(job) }
        return jobs.isEmpty
    }
}
