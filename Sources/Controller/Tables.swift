import Kubernetes

/// What the controller knows of the cluster, from its watches. A value: decisions read it, and tests make their own.
public struct Tables: Sendable {
    public private(set) var claims: [ObjectKey: PersistentVolumeClaim] = [:]
    public private(set) var volumes: [String: PersistentVolume] = [:]
    public private(set) var classes: [String: StorageClass] = [:]
    public private(set) var namespaces: [String: Namespace] = [:]
    public private(set) var datasets: [ObjectKey: Dataset] = [:]

    // Indexes, so that an event costs what it concerns.
    private var claimsOfNamespace: [String: Set<ObjectKey>] = [:]
    private var publishing: [String: Set<ObjectKey>] = [:]
    private var publishedBy: [ObjectKey: Set<ObjectKey>] = [:]
    private var consumers: [ObjectKey: [String: Int]] = [:]

    /// The newest versions that watches have brought.
    private var newestClaim = 0
    private var newestVolume = 0

    public let driver: String

    public init(driver: String = Names.defaultDriver) { self.driver = driver }

    // MARK: Reading

    public func claims(in namespace: String) -> Set<ObjectKey> { claimsOfNamespace[namespace] ?? [] }
    /// Datasets that publish claims of this name.
    func publishers(ofClaimsNamed name: String) -> Set<ObjectKey> { publishing[name] ?? [] }
    var publishers: Set<ObjectKey> { publishing.values.reduce(into: []) { $0.formUnion($1) } }
    /// Claims that a Dataset has published.
    func published(by dataset: ObjectKey) -> Set<ObjectKey> { publishedBy[dataset] ?? [] }

    public func consumers(of dataset: ObjectKey) -> Dataset.Consumers {
        let counts = consumers[dataset] ?? [:]
        return Dataset.Consumers(volumes: counts.values.reduce(0, +), namespaces: counts.count)
    }

    /// The class of a claim if it is one of ours.
    func ourClass(of claim: PersistentVolumeClaim) -> StorageClass? {
        guard let name = claim.spec.storageClassName, let found = classes[name], found.provisioner == driver else {
            return nil
        }
        return found
    }

    /// Made by this controller, as opposed to written by hand or by external-provisioner.
    func isOurs(_ volume: PersistentVolume) -> Bool {
        // Those of NFS are Kubernetes' own, and name the provisioner elsewhere.
        let provisioner = volume.spec.csi?.driver ?? volume.metadata.annotations?[Names.provisionedBy]
        return provisioner == driver && volume.metadata.labels?[Names.managedBy] == Names.controller
    }

    func dataset(of volume: PersistentVolume) -> ObjectKey? {
        volume.metadata.annotations?[Names.dataset].flatMap { ObjectKey(reference: $0, defaultNamespace: nil) }
    }

    /// The Dataset a claim asks for, whether it may have it or not.
    func datasetNamed(by claim: PersistentVolumeClaim) -> ObjectKey? {
        guard let found = ourClass(of: claim) else { return nil }
        if let text = found.parameters?["dataset"] { return ObjectKey(reference: text, defaultNamespace: nil) }
        guard found.parameters?["datasetAnnotation"] == "true", let text = claim.metadata.annotations?[Names.dataset]
        else { return nil }
        return ObjectKey(reference: text, defaultNamespace: claim.metadata.namespace)
    }

    // MARK: Writing

    @discardableResult
    public mutating func set(_ claim: PersistentVolumeClaim) -> PersistentVolumeClaim? {
        newestClaim = max(newestClaim, claim.metadata.versionNumber)
        let old = claims.updateValue(claim, forKey: claim.key)
        claimsOfNamespace[claim.key.namespace, default: []].insert(claim.key)
        if let publisher = old.flatMap(Publishing.publisher) { publishedBy[publisher]?.remove(claim.key) }
        if let publisher = Publishing.publisher(of: claim) { publishedBy[publisher, default: []].insert(claim.key) }
        return old
    }

    public mutating func remove(_ claim: PersistentVolumeClaim) {
        newestClaim = max(newestClaim, claim.metadata.versionNumber)
        let key = claim.key
        if let publisher = claims.removeValue(forKey: key).flatMap(Publishing.publisher) {
            publishedBy[publisher]?.remove(key)
        }
        claimsOfNamespace[key.namespace]?.remove(key)
        if claimsOfNamespace[key.namespace]?.isEmpty == true { claimsOfNamespace[key.namespace] = nil }
    }

    @discardableResult
    public mutating func set(_ volume: PersistentVolume) -> PersistentVolume? {
        newestVolume = max(newestVolume, volume.metadata.versionNumber)
        let old = volumes.updateValue(volume, forKey: volume.key.name)
        if let old { count(old, -1) }
        count(volume, 1)
        return old
    }

    public mutating func remove(_ volume: PersistentVolume) {
        newestVolume = max(newestVolume, volume.metadata.versionNumber)
        if let old = volumes.removeValue(forKey: volume.key.name) { count(old, -1) }
    }

    /// Takes the answer to a write of ours before the watch brings it. Where the watch was faster it may have brought
    /// something newer, which the answer must not replace.
    mutating func adopt(_ claim: PersistentVolumeClaim) {
        guard claim.metadata.versionNumber > newestClaim else { return }
        let newest = newestClaim
        set(claim)
        newestClaim = newest
    }

    mutating func adopt(_ volume: PersistentVolume) {
        guard volume.metadata.versionNumber > newestVolume else { return }
        let newest = newestVolume
        set(volume)
        newestVolume = newest
    }

    private mutating func count(_ volume: PersistentVolume, _ change: Int) {
        guard isOurs(volume), let dataset = dataset(of: volume), let namespace = volume.spec.claimRef?.namespace else {
            return
        }
        let total = (consumers[dataset]?[namespace] ?? 0) + change
        consumers[dataset, default: [:]][namespace] = total > 0 ? total : nil
        if consumers[dataset]?.isEmpty == true { consumers[dataset] = nil }
    }

    @discardableResult
    public mutating func set(_ storageClass: StorageClass) -> StorageClass? {
        classes.updateValue(storageClass, forKey: storageClass.key.name)
    }
    public mutating func removeClass(_ name: String) { classes[name] = nil }

    @discardableResult
    public mutating func set(_ namespace: Namespace) -> Namespace? {
        namespaces.updateValue(namespace, forKey: namespace.key.name)
    }
    public mutating func removeNamespace(_ name: String) { namespaces[name] = nil }

    @discardableResult
    public mutating func set(_ dataset: Dataset) -> Dataset? {
        let old = datasets.updateValue(dataset, forKey: dataset.key)
        if let old { publishing[old.publishedClaimName]?.remove(old.key) }
        if dataset.spec.publish != nil { publishing[dataset.publishedClaimName, default: []].insert(dataset.key) }
        return old
    }
    public mutating func removeDataset(_ key: ObjectKey) {
        guard let old = datasets.removeValue(forKey: key) else { return }
        publishing[old.publishedClaimName]?.remove(key)
    }
}

extension ObjectMeta {
    /// Versions of one kind of object are numbers that grow; 0 where this one isn't.
    fileprivate var versionNumber: Int { resourceVersion.flatMap { Int($0) } ?? 0 }
}
