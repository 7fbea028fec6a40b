import Kubernetes

/// One thing to look at; everything about it is decided anew each time.
public enum Work: Hashable, Sendable {
    case claim(ObjectKey)
    case volume(String)
    case dataset(ObjectKey)
    case publication(ObjectKey, into: String)
}

/// What a change of an object makes worth looking at.
extension Tables {
    public mutating func updated(_ claim: PersistentVolumeClaim) -> Set<Work> {
        set(claim)
        return concerned(by: claim)
    }

    public mutating func removed(_ claim: PersistentVolumeClaim) -> Set<Work> {
        let known = claims[claim.key] ?? claim
        remove(claim)
        return concerned(by: known)
    }

    private func concerned(by claim: PersistentVolumeClaim) -> Set<Work> {
        var works: Set<Work> = [.claim(claim.key)]
        // Its own volume, or the one that it names: those of warm-ups have other names.
        for volume in [Provisioning.volumeName(for: claim), claim.spec.volumeName ?? ""] where volumes[volume] != nil {
            works.insert(.volume(volume))
        }
        var datasets = publishers(ofClaimsNamed: claim.key.name)
        if let publisher = Publishing.publisher(of: claim) { datasets.insert(publisher) }
        for dataset in datasets { works.insert(.publication(dataset, into: claim.key.namespace)) }
        return works
    }

    public mutating func updated(_ volume: PersistentVolume) -> Set<Work> {
        set(volume)
        return concerned(by: volume)
    }

    public mutating func removed(_ volume: PersistentVolume) -> Set<Work> {
        remove(volume)
        return concerned(by: volume)
    }

    private func concerned(by volume: PersistentVolume) -> Set<Work> {
        guard isOurs(volume) else { return [] }
        var works: Set<Work> = [.volume(volume.key.name)]
        if let claim = volume.spec.claimRef, let name = claim.name {
            works.insert(.claim(ObjectKey(namespace: claim.namespace, name: name)))
        }
        if let dataset = dataset(of: volume) { works.insert(.dataset(dataset)) }
        return works
    }

    public mutating func updated(_ storageClass: StorageClass) -> Set<Work> {
        let old = set(storageClass)
        guard storageClass.provisioner == driver || old?.provisioner == driver,
            old?.metadata.resourceVersion != storageClass.metadata.resourceVersion
        else { return [] }
        return concerned(byClass: storageClass.key.name)
    }

    public mutating func removed(_ storageClass: StorageClass) -> Set<Work> {
        removeClass(storageClass.key.name)
        return concerned(byClass: storageClass.key.name)
    }

    private func concerned(byClass name: String) -> Set<Work> {
        let waiting = claims.values.filter { $0.spec.storageClassName == name }.map { Work.claim($0.key) }
        let publishing = datasets.values.filter {
            $0.spec.publish != nil && ($0.spec.publish?.storageClassName ?? Publishing.defaultClass) == name
        }
        return Set(waiting + publishing.map { .dataset($0.key) })
    }

    public mutating func updated(_ namespace: Namespace) -> Set<Work> {
        let old = set(namespace)
        let name = namespace.key.name
        if let old, old.metadata.labels == namespace.metadata.labels, old.isTerminating == namespace.isTerminating,
            old.metadata.uid == namespace.metadata.uid
        {
            return []
        }
        return concerned(byNamespace: name)
    }

    public mutating func removed(_ namespace: Namespace) -> Set<Work> {
        removeNamespace(namespace.key.name)
        return concerned(byNamespace: namespace.key.name)
    }

    private func concerned(byNamespace name: String) -> Set<Work> {
        var works: Set<Work> = []
        for dataset in publishers { works.insert(.publication(dataset, into: name)) }
        for key in claims(in: name) {
            works.insert(.claim(key))
            if let publisher = claims[key].flatMap(Publishing.publisher) {
                works.insert(.publication(publisher, into: name))
            }
        }
        return works
    }

    public mutating func updated(_ dataset: Dataset) -> Set<Work> {
        let old = set(dataset)
        // Its status is ours: a change of that alone concerns nobody, but for the revisions, which claims wait for.
        if let old, old.spec == dataset.spec, old.metadata.uid == dataset.metadata.uid,
            old.metadata.isBeingDeleted == dataset.metadata.isBeingDeleted
        {
            if dataset.isPinned, old.mountableRevision != dataset.mountableRevision {
                return concerned(byDataset: dataset.key)
            }
            return old.status?.revision == dataset.status?.revision ? [] : [.dataset(dataset.key)]
        }
        return concerned(byDataset: dataset.key)
    }

    public mutating func removed(_ dataset: Dataset) -> Set<Work> {
        removeDataset(dataset.key)
        return concerned(byDataset: dataset.key)
    }

    private func concerned(byDataset key: ObjectKey) -> Set<Work> {
        var works: Set<Work> = [.dataset(key)]
        for claim in claims.values where datasetNamed(by: claim) == key { works.insert(.claim(claim.key)) }
        for claim in published(by: key) { works.insert(.publication(key, into: claim.namespace)) }
        if let dataset = datasets[key], dataset.spec.publish != nil {
            for namespace in namespaces.values where dataset.publishes(to: namespace) {
                works.insert(.publication(key, into: namespace.key.name))
            }
        }
        return works
    }

    /// Everything there is, for a start: claims that wait come first.
    public var allWork: [Work] {
        var works: [Work] = claims.values.filter { $0.spec.volumeName == nil }.map { .claim($0.key) }
        for dataset in datasets.values {
            works.append(.dataset(dataset.key))
            guard dataset.spec.publish != nil else { continue }
            for namespace in namespaces.values where dataset.publishes(to: namespace) {
                works.append(.publication(dataset.key, into: namespace.key.name))
            }
        }
        for claim in claims.values {
            if let publisher = Publishing.publisher(of: claim) {
                works.append(.publication(publisher, into: claim.key.namespace))
            }
            if claim.spec.volumeName != nil { works.append(.claim(claim.key)) }
        }
        return works + volumes.values.filter(isOurs).map { .volume($0.key.name) }
    }
}
