import Kubernetes
import Logging
import PrometheusMetrics
import Threads

/// Does what the decisions say. One call looks at one thing; it may be cut off anywhere and be called again.
public final class Reconciler: Sendable {
    public let tables: Locked<Tables>
    private let client: Client
    private let events: EventRecorder
    private let provisioning: Provisioning
    private let sources: SourceObserver?
    private let logger: Logger
    private let counters: ReconcileCounters
    private let allowsEviction: Bool
    /// What the API server said to claims that should be published, by Dataset and namespace.
    private let refusedClaims = Locked<[ObjectKey: [String: String]]>([:])

    /// `sources`: nil where sources aren't asked. `allowsEviction`: whether pods may be deleted for a grant that is
    /// taken back with the policy Immediate.
    public init(
        client: Client, tables: Tables, provisioning: Provisioning, sources: SourceObserver?, allowsEviction: Bool,
        metrics: Registry, logger: Logger
    ) {
        self.client = client
        self.tables = Locked(tables)
        self.provisioning = provisioning
        self.sources = sources
        self.allowsEviction = allowsEviction
        self.logger = logger
        counters = ReconcileCounters(metrics)
        events = EventRecorder(client: client, component: Names.controller, logger: logger)
    }

    public func reconcile(_ work: Work) async -> WorkOutcome {
        do throws(APIError) {
            switch work {
            case .claim(let key): return try await reconcile(claim: key)
            case .volume(let name): try await reconcile(volume: name)
            case .dataset(let key): return try await reconcile(dataset: key)
            case .publication(let key, let namespace): try await publish(key, into: namespace)
            }
            return .done
        } catch {
            counters.failed.add()
            // Conflicts are the normal end of a race: the next look sees what won.
            logger.log(
                level: error.isConflict ? .debug : .warning, "will try again",
                metadata: ["work": "\(work)", "error": "\(error)"])
            return .failed(atLeastMs: (error.retryAfterSeconds ?? 0) * 1000)
        }
    }

    // MARK: Claims

    private func reconcile(claim key: ObjectKey) async throws(APIError) -> WorkOutcome {
        let (decision, claim) = tables.withLock { (provisioning.decide(key, $0), $0.claims[key]) }
        guard let claim else { return .done }
        switch decision {
        case .nothing: return .done
        case .refuse(let refusal):
            await tell(claim, refusal)
            return .done
        case .create(let volume, let view):
            if view.subPath != nil, await sources?.isMissing(view) == true {
                await tell(
                    claim,
                    Refusal("SubPathMissing", "there is nothing below \(view.place)"))
                return .again(afterMs: 60_000)
            }
            try await create(volume, for: claim)
            return .done
        case .withdraw(let volume, let evicting, let refusal):
            try await withdraw(volume, from: claim, evicting: evicting && allowsEviction)
            await tell(claim, refusal)
            return .done
        }
    }

    private func create(_ volume: PersistentVolume, for claim: PersistentVolumeClaim) async throws(APIError) {
        do throws(APIError) {
            let made = try await client.create(volume)
            // Seen at once, so that the same isn't asked for again before the watch brings it.
            tables.withLock { $0.adopt(made) }
            counters.volumesMade.add()
        } catch {
            if error.isAlreadyExists { return }
            if error.isInvalid {
                await tell(claim, Refusal("VolumeRefused", "the API server refused the volume: \(error.message)"))
            }
            throw error
        }
    }

    /// Removes the API object though a claim is bound to it. The claim is Lost then, and the kubelet mounts it for no new
    /// pod; pods that run keep their mount. The volume comes back under the same name if the grant does.
    private func withdraw(
        _ volume: PersistentVolume, from claim: PersistentVolumeClaim, evicting: Bool
    ) async throws(APIError) {
        do throws(APIError) {
            if !volume.metadata.isBeingDeleted {
                try await client.delete(PersistentVolume.self, volume.key.name, uid: volume.metadata.uid)
            }
            let held = try await client.get(PersistentVolume.self, volume.key.name)
            if held.metadata.uid == volume.metadata.uid {
                // Kubernetes would hold it as long as the claim is there.
                try await client.removeFinalizer(Names.volumeProtection, from: held)
            }
        } catch {
            guard error.isNotFound else { throw error }
        }
        counters.volumesWithdrawn.add()
        guard evicting else { return }
        let pods = try await client.list(Pod.self, namespace: claim.key.namespace)
        for pod in pods.items where pod.mounts(claim: claim.key.name) && !pod.metadata.isBeingDeleted {
            do throws(APIError) {
                try await client.delete(Pod.self, pod.key.name, namespace: pod.key.namespace, uid: pod.metadata.uid)
            } catch {
                guard error.isNotFound else { throw error }
            }
        }
    }

    private func tell(_ claim: PersistentVolumeClaim, _ refusal: Refusal) async {
        counters.refusals.add()
        await events.record(.warning, on: ObjectReference(claim), reason: refusal.reason, message: refusal.message)
    }

    // MARK: Volumes

    private func reconcile(volume name: String) async throws(APIError) {
        guard case .delete(let volume) = tables.withLock({ Reclaiming.decide(name, $0) }) else { return }
        do throws(APIError) {
            try await client.delete(PersistentVolume.self, name, uid: volume.metadata.uid)
            counters.volumesDeleted.add()
        } catch {
            guard error.isNotFound else { throw error }
        }
    }

    // MARK: Publishing

    private func publish(_ key: ObjectKey, into namespace: String) async throws(APIError) {
        let decisions = tables.withLock { Publishing.decide(key, into: namespace, $0) }
        var refusal: APIError?
        for decision in decisions {
            switch decision {
            case .nothing, .conflict: break
            case .create(let claim):
                do throws(APIError) {
                    let made = try await client.create(claim)
                    tables.withLock { $0.adopt(made) }
                    counters.claimsPublished.add()
                } catch {
                    // A claim of that name: the watch will show whose.
                    if error.isAlreadyExists || error.isNamespaceTerminating || error.isNotFound { break }
                    guard error.isForbidden || error.isInvalid else { throw error }
                    refusal = error
                }
            case .delete(let claim):
                do throws(APIError) {
                    try await client.delete(
                        PersistentVolumeClaim.self, claim.key.name, namespace: namespace, uid: claim.metadata.uid)
                } catch {
                    guard error.isNotFound else { throw error }
                }
            }
        }
        let refused = refusedClaims.withLock { table in
            table[key, default: [:]][namespace] = refusal?.message
            if table[key]?.isEmpty == true { table[key] = nil }
            return table[key] ?? [:]
        }
        let isNews = tables.withLock { tables in
            guard let dataset = tables.datasets[key], dataset.spec.publish != nil else { return false }
            let told = dataset.status?.conditions?.first { $0.type == "Published" }
            return told?.status != "True" || Publishing.problem(dataset, refused: refused, tables) != nil
        }
        if isNews { _ = try await reconcile(dataset: key) }
        // Quotas change: it is asked again, and later each time.
        if let refusal { throw refusal }
    }

    // MARK: Datasets

    private func reconcile(dataset key: ObjectKey) async throws(APIError) -> WorkOutcome {
        guard let dataset = tables.withLock({ $0.datasets[key] }) else {
            await sources?.forget(key)
            refusedClaims.withLock { $0[key] = nil }
            return .done
        }
        let observation = await sources?.observation(of: dataset)
        let refused = refusedClaims.withLock { $0[key] ?? [:] }
        let (consumers, problem) = tables.withLock {
            ($0.consumers(of: key), Publishing.problem(dataset, refused: refused, $0))
        }
        let status = DatasetStatus.make(
            for: dataset, observation: observation, consumers: consumers, publishing: problem, now: Timestamp.now())
        guard status != dataset.status else { return .done }
        do throws(APIError) {
            let written = try await client.patch(
                Dataset.self, key.name, namespace: key.namespace, merge: ["status": status.json], subresource: "status")
            // The status alone: a newer spec must come by the watch, which looks at what it concerns.
            tables.withLock { tables in
                guard var known = tables.datasets[key], known.metadata.uid == written.metadata.uid else { return }
                var status = written.status
                // Revisions as well, or claims that wait for one would not be looked at.
                status?.revision = known.status?.revision
                status?.revisions = known.status?.revisions
                status?.warm = known.status?.warm
                known.status = status
                tables.set(known)
            }
        } catch {
            guard error.isNotFound else { throw error }
        }
        return .done
    }
}

extension Dataset.Status {
    var json: JSON {
        var json: JSON = [
            "conditions": .array(
                (conditions ?? []).map { condition in
                    var json: JSON = [
                        "type": .string(condition.type), "status": .string(condition.status),
                        "reason": .string(condition.reason), "message": .string(condition.message),
                    ]
                    json["lastTransitionTime"] = condition.lastTransitionTime.map { .string($0) }
                    json["observedGeneration"] = condition.observedGeneration.map { .integer($0) }
                    return json
                })
        ]
        json["observedGeneration"] = observedGeneration.map { .integer($0) }
        json["objects"] = objects.map { .integer($0) }
        json["bytes"] = bytes.map { .integer($0) }
        json["countedAt"] = countedAt.map { .string($0) }
        json["consumers"] = consumers.map {
            ["volumes": .integer($0.volumes), "namespaces": .integer($0.namespaces)]
        }
        return json
    }
}

struct ReconcileCounters: Sendable {
    let volumesMade: Counter
    let volumesDeleted: Counter
    let volumesWithdrawn: Counter
    let claimsPublished: Counter
    let refusals: Counter
    let failed: Counter

    init(_ registry: Registry) {
        func counter(_ name: String, _ help: String) -> Counter {
            registry.counter("millrace_controller_\(name)", help)
        }
        volumesMade = counter("volumes_created_total", "Volumes made for claims.")
        volumesDeleted = counter("volumes_deleted_total", "Volumes deleted after their claim.")
        volumesWithdrawn = counter("volumes_withdrawn_total", "Volumes taken from their claim.")
        claimsPublished = counter("claims_published_total", "Claims put into namespaces.")
        refusals = counter("refusals_total", "Claims that were told no.")
        failed = counter("reconcile_failures_total", "Looks that ended in an error and come again.")
    }
}

/// For the CSI Controller service.
extension Reconciler {
    /// The view of a Dataset, if it is granted to the namespace.
    public func view(of key: ObjectKey, for namespace: String, subPath: String?) throws(Refusal) -> DatasetView {
        try tables.withLock { tables throws(Refusal) in
            try Provisioning.view(of: key, for: namespace, subPath, tables)
        }
    }

    /// The volumes of this driver that Kubernetes has.
    public var knownVolumes: [CSIVolume] {
        tables.withLock { tables in
            tables.volumes.values.compactMap { volume in
                guard let csi = volume.spec.csi, csi.driver == tables.driver else { return nil }
                return CSIVolume(id: csi.volumeHandle, capacityBytes: 0, context: csi.volumeAttributes ?? [:])
            }
        }
    }
}
