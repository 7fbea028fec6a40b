import Kubernetes

/// The controllers of a cluster that millrace meets: PersistentVolume binding, pvc- and pv-protection, the scheduler's
/// choice of a node, namespace deletion and garbage collection. Each step is one decision and at most a few writes.
extension ServerState {
    mutating func settle() {
        var steps = 0
        while step() {
            steps += 1
            precondition(steps < 1_000_000, "the stand-in's controllers don't settle")
        }
    }

    /// One decision; false where there is nothing to decide.
    mutating func step(choice: Int = 0) -> Bool {
        guard let work = cluster.take(at: choice) else { return false }
        switch work {
        case .claim(let key): bind(key)
        case .volume(let name): reclaim(name)
        case .pod(let key): schedule(key)
        case .namespace(let name): finish(namespace: name)
        case .orphans(let uid): collect(uid)
        }
        return true
    }

    private mutating func change(_ resource: Resource, _ key: ObjectKey, _ edit: (inout JSON) -> Void) {
        guard var object = self[resource, key] else { return }
        edit(&object)
        store(resource, key, object)
    }

    // MARK: Claims

    private mutating func bind(_ key: ObjectKey) {
        let claims = PersistentVolumeClaim.resource
        guard let claim = self[claims, key] else { return }
        if claim.at("metadata", "deletionTimestamp") != nil, !isInUse(key) {
            release(claims, key, "kubernetes.io/pvc-protection")
            return
        }
        let isBound = claim.at("metadata", "annotations", "pv.kubernetes.io/bind-completed") != nil
        if isBound {
            let name = claim.at("spec", "volumeName")?.string ?? ""
            let volume = self[PersistentVolume.resource, ObjectKey(namespace: nil, name: name)]
            let isOurs = volume?.at("spec", "claimRef", "uid") == claim.at("metadata", "uid")
            let phase: JSON = isOurs ? "Bound" : "Lost"
            if claim.at("status", "phase") != phase { change(claims, key) { $0.set("status", "phase", to: phase) } }
            return
        }
        if claim.at("metadata", "deletionTimestamp") != nil { return }
        if let volume = volume(for: claim, key) { return join(claim, key, volume) }
        announce(claim, key)
    }

    /// The volume that was made for the claim, or the best of those that are for anyone.
    private func volume(for claim: JSON, _ key: ObjectKey) -> JSON? {
        let wanted = claim.at("spec", "volumeName")?.string
        func fits(_ volume: JSON) -> Bool {
            let modes = volume.at("spec", "accessModes")?.array ?? []
            return (volume.at("spec", "storageClassName")?.string ?? "")
                == (claim.at("spec", "storageClassName")?.string ?? "")
                && (claim.at("spec", "accessModes")?.array ?? []).allSatisfy(modes.contains)
                && volume.at("spec", "volumeMode") == claim.at("spec", "volumeMode")
                && volume.at("spec", "volumeAttributesClassName") == claim.at("spec", "volumeAttributesClassName")
                && size(volume.at("spec", "capacity")) >= size(claim.at("spec", "resources", "requests"))
                && volume.at("metadata", "deletionTimestamp") == nil
        }
        func size(_ amounts: JSON?) -> Double { amounts?["storage"]?.string.flatMap(quantity) ?? 0 }
        func named(_ name: String) -> JSON? { self[PersistentVolume.resource, ObjectKey(namespace: nil, name: name)] }
        for name in (cluster.volumesOfClaim[key] ?? []).sorted() where wanted == nil || wanted == name {
            guard let volume = named(name), fits(volume) else { continue }
            let uid = volume.at("spec", "claimRef", "uid")
            if uid == nil || uid == claim.at("metadata", "uid") { return volume }
        }
        for name in (cluster.volumesOfClaim[nil] ?? []).sorted() where wanted == nil || wanted == name {
            if let volume = named(name), fits(volume) { return volume }
        }
        return nil
    }

    private mutating func join(_ claim: JSON, _ key: ObjectKey, _ volume: JSON) {
        let name = volume.at("metadata", "name")!
        change(PersistentVolume.resource, ObjectKey(namespace: nil, name: name.string!)) {
            $0.set(
                "spec", "claimRef",
                to: [
                    "kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": .string(key.namespace),
                    "name": .string(key.name), "uid": claim.at("metadata", "uid")!,
                    "resourceVersion": claim.at("metadata", "resourceVersion")!,
                ])
            $0.set("status", "phase", to: "Bound")
        }
        change(PersistentVolumeClaim.resource, key) {
            $0.set("spec", "volumeName", to: name)
            $0.set("metadata", "annotations", "pv.kubernetes.io/bind-completed", to: "yes")
            $0.set("metadata", "annotations", "pv.kubernetes.io/bound-by-controller", to: "yes")
            $0["status"] = [
                "phase": "Bound", "accessModes": volume.at("spec", "accessModes") ?? [],
                "capacity": volume.at("spec", "capacity") ?? [:],
            ]
        }
    }

    /// Tells a provisioner that the claim waits for it.
    private mutating func announce(_ claim: JSON, _ key: ObjectKey) {
        guard let name = claim.at("spec", "storageClassName")?.string, claim.at("spec", "volumeName") == nil,
            let storageClass = self[StorageClass.resource, ObjectKey(namespace: nil, name: name)],
            let provisioner = storageClass["provisioner"]
        else { return }
        if storageClass["volumeBindingMode"]?.string == "WaitForFirstConsumer",
            claim.at("metadata", "annotations", "volume.kubernetes.io/selected-node") == nil
        {
            return
        }
        if claim.at("metadata", "annotations", "volume.kubernetes.io/storage-provisioner") == provisioner { return }
        change(PersistentVolumeClaim.resource, key) {
            $0.set("metadata", "annotations", "volume.kubernetes.io/storage-provisioner", to: provisioner)
            $0.set("metadata", "annotations", "volume.beta.kubernetes.io/storage-provisioner", to: provisioner)
        }
    }

    private func isInUse(_ claim: ObjectKey) -> Bool {
        (tables["/pods"] ?? [:]).contains { key, pod in
            key.namespace == claim.namespace
                && !["Succeeded", "Failed"].contains(pod.at("status", "phase")?.string ?? "")
                && (pod.at("spec", "volumes")?.array ?? []).contains {
                    $0.at("persistentVolumeClaim", "claimName")?.string == claim.name
                }
        }
    }

    private mutating func release(_ resource: Resource, _ key: ObjectKey, _ finalizer: JSON) {
        guard (self[resource, key]?.at("metadata", "finalizers")?.array ?? []).contains(finalizer) else { return }
        change(resource, key) {
            let rest = ($0.at("metadata", "finalizers")?.array ?? []).filter { $0 != finalizer }
            $0.set("metadata", "finalizers", to: .array(rest))
        }
    }

    // MARK: Volumes

    private mutating func reclaim(_ name: String) {
        let volumes = PersistentVolume.resource
        let key = ObjectKey(namespace: nil, name: name)
        guard let volume = self[volumes, key] else { return }
        var phase = volume.at("status", "phase")?.string ?? "Pending"
        if let claimKey = ClusterState.claim(of: volume) {
            let claim = self[PersistentVolumeClaim.resource, claimKey]
            if let uid = volume.at("spec", "claimRef", "uid") {
                if claim == nil || claim!.at("metadata", "uid") != uid {
                    phase = "Released"
                } else if claim!.at("spec", "volumeName")?.string == name {
                    phase = "Bound"
                } else if claim!.at("spec", "volumeName") != nil {
                    // The claim took another: this one was made for nothing.
                    phase = "Released"
                } else {
                    cluster.add(.claim(claimKey))
                }
            } else if phase == "Pending" {
                phase = "Available"
            }
        } else {
            phase = "Available"
        }
        if phase != volume.at("status", "phase")?.string {
            change(volumes, key) {
                $0.set("status", "phase", to: .string(phase))
                $0.set("status", "lastPhaseTransitionTime", to: .string(Timestamp.now()))
            }
        }
        if volume.at("metadata", "deletionTimestamp") != nil, phase != "Bound" {
            release(volumes, key, "kubernetes.io/pv-protection")
        }
    }

    // MARK: Pods, namespaces, garbage

    /// The scheduler: chooses a node for a pod and tells its claims that wait for that.
    private mutating func schedule(_ key: ObjectKey) {
        guard let pod = self[Pod.resource, key], pod.at("metadata", "deletionTimestamp") == nil else { return }
        for volume in pod.at("spec", "volumes")?.array ?? [] {
            guard let name = volume.at("persistentVolumeClaim", "claimName")?.string else { continue }
            let claimKey = ObjectKey(namespace: key.namespace, name: name)
            guard let claim = self[PersistentVolumeClaim.resource, claimKey], claim.at("spec", "volumeName") == nil,
                claim.at("metadata", "annotations", "volume.kubernetes.io/selected-node") == nil
            else { continue }
            change(PersistentVolumeClaim.resource, claimKey) {
                $0.set("metadata", "annotations", "volume.kubernetes.io/selected-node", to: "node1")
            }
        }
    }

    private mutating func finish(namespace: String) {
        let key = ObjectKey(namespace: nil, name: namespace)
        guard let object = self[Namespace.resource, key], object.at("metadata", "deletionTimestamp") != nil else {
            return
        }
        var isEmpty = true
        for entry in catalog.all where entry.resource.isNamespaced {
            let table = Self.table(entry.resource)
            for (key, content) in (tables[table] ?? [:]).sorted(by: { $0.key < $1.key })
            where key.namespace == namespace {
                remove(entry.resource, key, content)
                if tables[table]?[key] != nil { isEmpty = false }
            }
        }
        if isEmpty { change(Namespace.resource, key) { $0["spec"] = [:] } }
    }

    private mutating func collect(_ uid: String) {
        for dependent in cluster.dependents[uid] ?? [] {
            guard let object = tables[dependent.table]?[dependent.key],
                let entry = catalog.all.first(where: { Self.table($0.resource) == dependent.table })
            else { continue }
            // It goes when its last owner has gone.
            let owners = (object.at("metadata", "ownerReferences")?.array ?? []).filter { $0["uid"]?.string != uid }
            if owners.isEmpty {
                remove(entry.resource, dependent.key, object)
            } else {
                change(entry.resource, dependent.key) { $0.set("metadata", "ownerReferences", to: .array(owners)) }
            }
        }
    }
}
