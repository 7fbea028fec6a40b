import Controller
import Kubernetes

/// DatasetLoads: a warm-up that is done once.
extension WarmingReconciler {
    func reconcile(load key: ObjectKey) async throws(APIError) -> WorkOutcome {
        guard tables.loads[key] != nil,
            let load = try await found({ () async throws(APIError) in
                try await self.client.get(DatasetLoad.self, key.name, namespace: key.namespace)
            }), !load.metadata.isBeingDeleted
        else { return .done }
        let owner = WarmOwner(load)
        if load.isFinished { return try await retire(load, owner) }
        let dataset = tables.datasets[ObjectKey(namespace: key.namespace, name: load.spec.dataset)]
        guard let dataset, !dataset.metadata.isBeingDeleted else {
            // Where it was deleted meanwhile, pods that mount it would hold its volume.
            if !tables.pods(of: owner).isEmpty || !tables.claims(of: owner).isEmpty {
                try await removePodsAndClaims(of: owner)
            }
            var status = load.status ?? Dataset.WarmStatus()
            status.message = "There is no Dataset \(load.spec.dataset) in namespace \(key.namespace) yet."
            try await write(status, of: load)
            return .again(afterMs: 15_000)
        }
        let view: DatasetView
        do throws(Refusal) { view = try WarmSource.view(of: dataset) } catch {
            try await write(.refused(error), of: load)
            return .done
        }
        guard let claim = try await ensureClaim(owner, view) else { return .again(afterMs: 1000) }
        let decision = await decide(owner, view, run: "")
        try await write(decision.status, of: load)
        try await act(decision, owner, claim, view)
        return .again(afterMs: decision.againMs ?? 30_000)
    }

    func retire(_ load: DatasetLoad, _ owner: WarmOwner) async throws(APIError) -> WorkOutcome {
        try await removePodsAndClaims(of: owner)
        guard let ttl = load.spec.ttlSecondsAfterFinished else { return .done }
        // One that never had a node counts from its creation.
        let times = (load.status?.nodes ?? []).map(\.since) + [load.metadata.creationTimestamp]
        let ended = times.compactMap { $0.flatMap(Timestamp.seconds) }.max() ?? now()
        guard ended + ttl <= now() else { return .again(afterMs: (ended + ttl - now()) * 1000) }
        try await delete(load)
        return .done
    }

    func write(_ status: Dataset.WarmStatus, of load: DatasetLoad) async throws(APIError) {
        guard status != load.status else { return }
        let patch: JSON = [
            "metadata": ["resourceVersion": load.metadata.resourceVersion.map { .string($0) } ?? .null],
            "status": status.patch,
        ]
        let written = try await client.patch(
            DatasetLoad.self, load.key.name, namespace: load.key.namespace, merge: patch, subresource: "status")
        tables.loads.set(written)
        if written.isFinished { enqueue(WarmingTables.loadKey(load.key)) }
    }
}
