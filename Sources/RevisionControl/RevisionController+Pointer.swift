import Controller
import Kubernetes

/// The pointer: an object beside the manifests by which nodes know the newest revision. Volumes whose pods are to roll
/// forward name it, as a volume's attributes never change.
extension RevisionController {
    /// Only once a revision is recorded does the pointer lead to it: what nobody has recorded is removed as an orphan.
    func startPointing(_ dataset: Dataset, to record: Dataset.RevisionRecord) {
        startTask(dataset.key) { [self] in
            do throws(RevisionFailure) {
                try await store.point(to: record.id, try await jobs.job(for: dataset))
            } catch {
                if Task.isCancelled { return }
                await events.record(
                    .warning, on: ObjectReference(dataset), reason: "RevisionFailed", message: error.description)
                // By this it is known when to try again.
                var failed = state("Failed", error.description, of: dataset)
                failed.lastAttempt = Timestamp.at(now())
                await log(dataset) { () async throws(APIError) in try await write(failed, to: dataset) }
                return
            }
            await log(dataset) { () async throws(APIError) in try await recordPointer(record, of: dataset) }
        }
    }

    /// What can't be written is done again, with the next look.
    private func log(_ dataset: Dataset, _ body: () async throws(APIError) -> Void) async {
        do throws(APIError) { try await body() } catch {
            logger.log(
                level: error.isConflict ? .debug : .warning, "which revision is the newest isn't recorded yet",
                metadata: ["dataset": "\(dataset.key)", "error": "\(error)"])
            // The task's end has it looked at again at once.
            try? await Task.sleep(for: .milliseconds(Int.random(in: 100...1_000)))
        }
    }

    private func recordPointer(_ record: Dataset.RevisionRecord, of dataset: Dataset) async throws(APIError) {
        let known = try await client.get(Dataset.self, dataset.key.name, namespace: dataset.key.namespace)
        guard known.metadata.uid == dataset.metadata.uid, var records = known.status?.revisions else { return }
        for i in records.indices where records[i].id == record.id && records[i].readyAt == nil {
            records[i].readyAt = Timestamp.at(now())
        }
        var revision: JSON = ["current": .string(record.id)]
        if known.status?.revision?.phase == "Failed" {
            revision["phase"] = "Ready"
            revision["message"] = .string("Pods that start get revision \(record.id).")
        }
        try await patch(
            dataset, ["revision": revision, "revisions": .array(records.map(\.json))],
            only: known.metadata.resourceVersion)
    }
}
