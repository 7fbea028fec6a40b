import Controller
import Kubernetes

import struct S3.RevisionKey

/// What nobody needs any more goes.
extension RevisionController {
    /// By what the API server says now: the table may not have a volume yet that was made a moment ago.
    func used(_ dataset: Dataset) async throws(APIError) -> Set<String> {
        let shown = try await client.list(RevisionVolume.self).items.compactMap { $0.shown }
            .filter { $0.dataset == dataset.key }
        let used = Set(shown.map(\.id))
        guard used.contains(Dataset.RevisionRecord.newest) else { return used }
        var claims: [String: Set<String>] = [:]
        for case let claim? in shown.map(\.claim) { claims[claim.namespace, default: []].insert(claim.name) }
        var oldest = Int.max
        for (namespace, names) in claims {
            for pod in try await client.list(Pod.self, namespace: namespace).items
            where names.contains(where: { pod.mounts(claim: $0) })
                && !["Succeeded", "Failed"].contains(pod.status?.phase ?? "")
            {
                oldest = min(oldest, pod.metadata.creationTimestamp.flatMap { Timestamp.seconds($0) } ?? 0)
            }
        }
        guard oldest < .max else { return used }
        return used.union(RevisionPlan.held(dataset.status?.revisions ?? [], since: oldest))
    }

    /// First from the status, so that no volume is made of it any more; then, where no volume shows it, in the store.
    /// - Returns: whether some had to stay, as pods that run may show them.
    func remove(_ records: [Dataset.RevisionRecord], from dataset: Dataset) async throws(APIError) -> Bool {
        let gone = Set(records.map(\.id)).subtracting(try await used(dataset))
        let isMore = gone.count < records.count
        guard !gone.isEmpty else { return isMore }
        let left = (dataset.status?.revisions ?? []).filter { !gone.contains($0.id) }
        try await patch(dataset, ["revisions": .array(left.map(\.json))], only: dataset.metadata.resourceVersion)
        // A volume that was made of it meanwhile keeps it.
        let late = try await used(dataset)
        do throws(RevisionFailure) {
            let job = try await jobs.job(for: dataset)
            for record in records where gone.contains(record.id) && !late.contains(record.id) {
                // Of another store than the present one: it is not ours to reach any more.
                guard
                    record.manifest
                        == "s3://\(job.store.bucket)/\(job.place(of: record.id)?.objectKey.description ?? "")"
                else { continue }
                try await store.remove(id: record.id, job)
                removed.add()
            }
        } catch {
            // It is an orphan then, and goes with the next build.
            logger.warning("a manifest is left", metadata: ["dataset": "\(dataset.key)", "error": "\(error)"])
        }
        return isMore
    }

    /// The Dataset is being deleted, and no volume shows a revision of it.
    func leave(_ dataset: Dataset) async throws(APIError) -> WorkOutcome {
        guard try await used(dataset).isEmpty else { return .again(afterMs: 10_000) }
        do throws(RevisionFailure) {
            let job = try await jobs.job(for: dataset)
            try await store.point(to: nil, job)
            for id in try await store.ids(job) {
                try await store.remove(id: id, job)
                removed.add()
            }
        } catch {
            let since = dataset.metadata.deletionTimestamp.flatMap { Timestamp.seconds($0) } ?? now()
            guard now() - since >= Self.leaveSeconds else { return .failed(atLeastMs: 5_000) }
            await events.record(
                .warning, on: ObjectReference(dataset), reason: "ManifestsLeft",
                message: "\(error.description); what is under \(RevisionKey.directory) is left there")
        }
        try await client.removeFinalizer(RevisionPlan.finalizer, from: dataset)
        return .done
    }
}
