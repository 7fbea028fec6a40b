import Kubernetes

/// What imports look at.
struct ImportTables: Sendable {
    var imports: ObjectTable<DatasetImport>
    var claims: ObjectTable<PersistentVolumeClaim>
    var volumes: ObjectTable<PersistentVolume>
    var classes: ObjectTable<StorageClass>
    var jobs: ObjectTable<Job>

    /// For tests, which fill them by hand.
    init() {
        (imports, claims, volumes, classes, jobs) = (
            ObjectTable(), ObjectTable(), ObjectTable(), ObjectTable(), ObjectTable()
        )
    }

    init(watchedBy loop: ControlLoop) {
        imports = loop.watch(DatasetImport.self, keys: ImportTables.concerns)
        claims = loop.watch(PersistentVolumeClaim.self, keys: ImportTables.concerns)
        volumes = loop.watch(PersistentVolume.self) { _ in [] }
        classes = loop.watch(StorageClass.self) { _ in [] }
        jobs = loop.watch(
            Job.self, labelSelector: "\(ImportNames.component)=\(ImportNames.importComponent)",
            keys: ImportTables.concerns)
    }

    /// Keys of imports are plain; those of claims that name one have this in front.
    static let claimPrefix = "claim:"

    static func claimKey(namespace: String?, name: String) -> ObjectKey {
        ObjectKey(namespace: namespace, name: claimPrefix + name)
    }

    static func concerns(_ item: DatasetImport) -> [ObjectKey] { [item.key] }

    static func concerns(_ claim: PersistentVolumeClaim) -> [ObjectKey] {
        var keys: [ObjectKey] = []
        let namespace = claim.metadata.namespace
        if PopulatePlan.names(claim) { keys.append(claimKey(namespace: namespace, name: claim.metadata.name ?? "")) }
        if let holder = claim.metadata.annotations?[ImportNames.filledBy]?.split(separator: "/").first {
            keys.append(ObjectKey(namespace: namespace, name: String(holder)))
        }
        return keys + owners(claim.metadata)
    }

    static func concerns(_ job: Job) -> [ObjectKey] { owners(job.metadata) }

    private static func owners(_ metadata: ObjectMeta) -> [ObjectKey] {
        (metadata.ownerReferences ?? []).compactMap { owner in
            switch owner.kind {
            case DatasetImport.resource.kind: ObjectKey(namespace: metadata.namespace, name: owner.name)
            case PersistentVolumeClaim.resource.kind: claimKey(namespace: metadata.namespace, name: owner.name)
            default: nil
            }
        }
    }
}
