import Controller
import Kubernetes

/// Calls that all of it needs.
extension ImportReconciler {
    /// Creates it, unless it is there: names are derived from UIDs, so what has the name is the same thing.
    func make(_ job: Job) async throws(APIError) {
        do throws(APIError) { tables.jobs.set(try await client.create(job)) } catch {
            guard error.isAlreadyExists else { throw error }
        }
    }

    func make(_ claim: PersistentVolumeClaim) async throws(APIError) {
        do throws(APIError) { tables.claims.set(try await client.create(claim)) } catch {
            guard error.isAlreadyExists else { throw error }
            let there = try await client.get(
                PersistentVolumeClaim.self, claim.metadata.name ?? "", namespace: claim.metadata.namespace)
            tables.claims.set(there)
        }
    }

    /// With its pods first: the Job is there as long as one of them is.
    func delete(_ job: Job) async throws(APIError) {
        do throws(APIError) {
            try await client.delete(
                Job.self, job.metadata.name ?? "", namespace: job.metadata.namespace, uid: job.metadata.uid,
                propagation: "Foreground")
        } catch {
            guard error.isNotFound else { throw error }
            tables.jobs.remove(job.key)
        }
    }

    func delete(_ claim: PersistentVolumeClaim) async throws(APIError) {
        do throws(APIError) {
            try await client.delete(
                PersistentVolumeClaim.self, claim.metadata.name ?? "", namespace: claim.metadata.namespace,
                uid: claim.metadata.uid)
        } catch {
            guard error.isNotFound || error.isConflict else { throw error }
        }
    }

    /// Writes the status where it differs.
    func move(
        _ item: DatasetImport, _ phase: DatasetImport.Phase, _ reason: String, _ message: String,
        _ change: (inout DatasetImport.Status) -> Void = { _ in }
    ) async throws(APIError) {
        var status = ImportStatus.moved(
            item, to: phase, reason: reason, message: message, now: Timestamp.at(clock()))
        change(&status)
        guard let patch = ImportStatus.patch(from: item.status, to: status) else { return }
        do throws(APIError) {
            tables.imports.set(
                try await client.patch(
                    DatasetImport.self, item.metadata.name ?? "", namespace: item.metadata.namespace, merge: patch,
                    subresource: "status"))
        } catch {
            guard error.isNotFound else { throw error }
        }
    }

    // MARK: Pods

    /// A Job's pods, oldest first.
    func pods(of job: Job) async throws(APIError) -> [Pod] {
        let uid = job.metadata.labels?[ImportNames.uidLabel] ?? ""
        return try await client.list(
            Pod.self, namespace: job.metadata.namespace, labelSelector: "\(ImportNames.uidLabel)=\(uid)"
        ).items
            .filter { pod in pod.metadata.ownerReferences?.contains { $0.uid == job.metadata.uid } ?? false }
            .sorted { ($0.metadata.creationTimestamp ?? "", $0.key) < ($1.metadata.creationTimestamp ?? "", $1.key) }
    }

    func ask(_ pods: [Pod]) async -> JSON? {
        for pod in pods.reversed() where pod.status?.phase == "Running" {
            guard let address = pod.status?.podIP else { continue }
            if let report = await progress.progress(of: address, port: template.settings.progressPort) { return report }
        }
        return nil
    }

    /// The last thing that a copy said of itself.
    func lastReport(_ pods: [Pod]) -> JSON? {
        pods.reversed().lazy.compactMap {
            $0.status?.container?.state?.terminated?.message.flatMap { try? JSON(parsing: $0) }
        }
        .first { $0["phase"] != nil }
    }

    func lastWords(_ pods: [Pod]) -> String? {
        pods.reversed().lazy.compactMap { $0.status?.lastWords }.first { !$0.isEmpty }.map { String($0.suffix(1000)) }
    }
}
