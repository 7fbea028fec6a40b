import Controller
import Kubernetes

/// Imports by a schedule: each run fills a claim of its own, and the newest are kept.
extension ImportReconciler {
    func reconcile(scheduled item: DatasetImport) async throws(APIError) -> WorkOutcome {
        try await tidy(item)
        if let run = item.status?.current { return try await fill(item, run.claimName, job: run.jobName) }
        let created = item.metadata.creationTimestamp.flatMap(Timestamp.seconds) ?? clock()
        switch SchedulePlan.decide(item, created: created, now: clock()) {
        case .start(let time):
            // Written down first: what is made after that is found again.
            try await move(item, .running, "Started", "The run of \(Timestamp.at(time)) begins.") {
                $0.current = SchedulePlan.run(item, at: time)
                $0.lastScheduleTime = Timestamp.at(time)
                $0.nextScheduleTime = nil
                $0.progress = nil
            }
            return .again(afterMs: 0)
        case .waitUntil(let time):
            let latest = item.status?.latestClaim.map { " The newest data is in claim \($0)." } ?? ""
            try await move(item, .scheduled, "Scheduled", "The next run is at \(Timestamp.at(time)).\(latest)") {
                $0.nextScheduleTime = Timestamp.at(time)
            }
            return .again(afterMs: min(3_600, max(1, time - clock())) * 1000)
        case .never:
            try await move(item, .scheduled, "Suspended", "No run is due.") { $0.nextScheduleTime = nil }
            return .done
        }
    }

    /// Writes down how a run ended. Only one that succeeded becomes the newest data.
    func conclude(
        run item: DatasetImport, _ isWhole: Bool, _ message: String, _ progress: DatasetImport.Progress?
    ) async throws(APIError) {
        guard var run = item.status?.current else { return }
        run.phase = isWhole ? .succeeded : .failed
        run.message = message
        run.progress = progress
        run.completionTime = Timestamp.at(clock())
        if let claim = tables.claims[ObjectKey(namespace: item.metadata.namespace, name: run.claimName)], isWhole {
            try await setLatest(claim, true)
        }
        let ended = run
        try await move(item, .scheduled, isWhole ? "Completed" : "RunFailed", message) {
            $0.current = nil
            $0.progress = progress
            if isWhole { ($0.latestClaim, $0.claimName) = (ended.claimName, ended.claimName) }
            $0.jobName = ended.jobName
            $0.history = SchedulePlan.trimmed([ended] + ($0.history ?? []), keepLast: item.keepLast)
        }
        await events.record(
            isWhole ? .normal : .warning, on: ObjectReference(item), reason: isWhole ? "Imported" : "ImportFailed",
            message: message)
    }

    /// Claims that aren't kept any more go (Kubernetes waits for pods that use them), and only the newest is called so.
    private func tidy(_ item: DatasetImport) async throws(APIError) {
        let claims = tables.claims.all.filter {
            $0.metadata.namespace == item.metadata.namespace && $0.metadata.labels?[ImportNames.uidLabel] == item.uid
        }
        for claim in SchedulePlan.surplus(item, claims: claims) where !claim.metadata.isBeingDeleted {
            try await delete(claim)
        }
        for claim in claims where claim.metadata.labels?[ImportNames.latest] == "true" {
            if claim.metadata.name != item.status?.latestClaim, claim.metadata.name != item.status?.current?.claimName {
                try await setLatest(claim, false)
            }
        }
    }

    private func setLatest(_ claim: PersistentVolumeClaim, _ isLatest: Bool) async throws(APIError) {
        if (claim.metadata.labels?[ImportNames.latest] == "true") == isLatest { return }
        let patch: JSON = [
            "metadata": [
                "labels": [ImportNames.latest: isLatest ? "true" : .null], "annotations": [ImportNames.filledBy: .null],
            ]
        ]
        do throws(APIError) {
            tables.claims.set(
                try await client.patch(
                    PersistentVolumeClaim.self, claim.metadata.name ?? "", namespace: claim.metadata.namespace,
                    merge: patch))
        } catch {
            guard error.isNotFound else { throw error }
        }
    }
}

extension SchedulePlan {
    /// The claim that an import makes.
    static func claim(_ name: String, for item: DatasetImport) -> PersistentVolumeClaim {
        let template = item.spec.claimTemplate
        var spec = PersistentVolumeClaim.Spec()
        spec.accessModes = template?.accessModes ?? ["ReadWriteOnce"]
        spec.resources = PersistentVolumeClaim.Resources(requests: ["storage": template?.capacity ?? "1Gi"])
        spec.storageClassName = template?.storageClassName
        var labels = template?.labels ?? [:]
        labels[Labels.managedBy] = Labels.controller
        labels[ImportNames.uidLabel] = item.uid
        let metadata = ObjectMeta(
            name: name, namespace: item.metadata.namespace, labels: labels, annotations: template?.annotations,
            ownerReferences: item.spec.reclaimPolicy == "Retain" ? nil : [PopulatePlan.owner(item)])
        return PersistentVolumeClaim(metadata: metadata, spec: spec)
    }
}
