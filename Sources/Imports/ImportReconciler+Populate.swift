import Controller
import Kubernetes

/// Claims whose dataSourceRef names an import.
extension ImportReconciler {
    func reconcile(claim key: ObjectKey) async throws(APIError) -> WorkOutcome {
        guard let claim = tables.claims[key], PopulatePlan.names(claim), let uid = claim.metadata.uid else {
            return .done
        }
        func inside(_ name: String) -> ObjectKey { ObjectKey(namespace: key.namespace, name: name) }
        let prime = tables.claims[inside(ImportNames.prime(uid: uid))]
        let job = tables.jobs[inside(ImportNames.job(uid: uid))]
        let item = tables.imports[inside(claim.spec.dataSourceRef?.name ?? "")]
        let step = PopulatePlan.decide(
            claim, item: item,
            storageClass: tables.classes[ObjectKey(namespace: nil, name: claim.spec.storageClassName ?? "")],
            prime: prime,
            volume: prime?.spec.volumeName.flatMap { tables.volumes[ObjectKey(namespace: nil, name: $0)] }, job: job)
        switch step {
        case .nothing: return .done
        case .makePrime:
            try await allowed(item!, claim)
            try await make(PopulatePlan.prime(for: claim))
            return .again(afterMs: 0)
        case .makeJob:
            try await make(
                template.job(
                    ImportNames.job(uid: uid), for: item!, filling: ImportNames.prime(uid: uid),
                    owner: PopulatePlan.owner(claim), uid: uid, node: PopulatePlan.selectedNode(claim)))
            try await tell(claim, .running)
            return .again(afterMs: Self.patientMs)
        case .follow: return .again(afterMs: Self.patientMs)
        case .rebind(let name):
            try await rebind(name, to: claim)
            return .again(afterMs: Self.pollMs)
        case .tidy:
            try await tell(claim, .succeeded)
            if let job, !job.metadata.isBeingDeleted { try await delete(job) }
            if let prime, !prime.metadata.isBeingDeleted { try await delete(prime) }
            return .done
        case .wait(let reason, let message):
            await events.record(.normal, on: ObjectReference(claim), reason: reason, message: message)
            return .again(afterMs: Self.patientMs)
        case .fail:
            let pods = try await pods(of: job!)
            let message = lastReport(pods)?["message"]?.string ?? lastWords(pods) ?? job!.failure?.message ?? ""
            try await tell(claim, .failed)
            await events.record(
                .warning, on: ObjectReference(claim), reason: "ImportFailed",
                message: "\(message); delete Job \(job!.metadata.name ?? "") to try again")
            return .done
        }
    }

    private func allowed(_ item: DatasetImport, _ claim: PersistentVolumeClaim) async throws(APIError) {
        for (field, url) in ImportCheck.urls(item) {
            do throws(Refusal) { try await policy.check(url: url, field: field) } catch {
                await events.record(.warning, on: ObjectReference(claim), reason: error.reason, message: error.message)
                var refused = APIError(code: 0, reason: error.reason, message: error.message)
                refused.retryAfterSeconds = 60
                throw refused
            }
        }
    }

    /// From now on the volume is the claim's: Kubernetes binds them, and the prime claim is Lost.
    private func rebind(_ name: String, to claim: PersistentVolumeClaim) async throws(APIError) {
        let volume = try await client.get(PersistentVolume.self, name)
        if volume.spec.claimRef?.uid == claim.metadata.uid { return }
        guard volume.spec.claimRef?.name == ImportNames.prime(uid: claim.metadata.uid ?? "") else { return }
        var reference: JSON = ["apiVersion": "v1", "kind": "PersistentVolumeClaim", "resourceVersion": .null]
        reference["namespace"] = claim.metadata.namespace.map { .string($0) }
        reference["name"] = claim.metadata.name.map { .string($0) }
        reference["uid"] = claim.metadata.uid.map { .string($0) }
        var patch: JSON = ["spec": ["claimRef": reference]]
        if claim.spec.accessModes == ["ReadOnlyMany"] { patch.set("spec", "accessModes", to: ["ReadOnlyMany"]) }
        patch.set("metadata", "resourceVersion", to: volume.metadata.resourceVersion.map { .string($0) })
        tables.volumes.set(try await client.patch(PersistentVolume.self, name, merge: patch))
    }

    /// The phase, as an annotation of the claim.
    private func tell(_ claim: PersistentVolumeClaim, _ phase: DatasetImport.Phase) async throws(APIError) {
        if claim.metadata.annotations?[ImportNames.phase] == phase.rawValue { return }
        let patch: JSON = ["metadata": ["annotations": [ImportNames.phase: .string(phase.rawValue)]]]
        tables.claims.set(
            try await client.patch(
                PersistentVolumeClaim.self, claim.metadata.name ?? "", namespace: claim.metadata.namespace, merge: patch
            ))
    }
}
