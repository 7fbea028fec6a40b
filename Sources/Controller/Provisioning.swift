import Kubernetes

/// What should become of a claim's volume.
public enum ClaimDecision: Sendable {
    /// Not ours, not our turn yet, or all as it should be.
    case nothing
    case create(PersistentVolume, view: DatasetView)
    /// The volume must go, though the claim is there: its grant was taken back, or it shows what the Dataset no longer
    /// is. `evicting`: pods that use it too.
    case withdraw(PersistentVolume, evicting: Bool, Refusal)
    case refuse(Refusal)
}

/// Decides about claims, from what is known of the cluster and nothing else.
public struct Provisioning: Sendable {
    public let ids: VolumeIDs

    public init(ids: VolumeIDs) { self.ids = ids }

    public static func volumeName(for claim: PersistentVolumeClaim) -> String { "pvc-\(claim.metadata.uid ?? "")" }

    public func decide(_ key: ObjectKey, _ tables: Tables) -> ClaimDecision {
        guard let claim = tables.claims[key], let storageClass = tables.ourClass(of: claim),
            !claim.metadata.isBeingDeleted, claim.metadata.uid != nil,
            claim.metadata.annotations?[Names.incomplete] == nil
        else { return .nothing }
        let name = Self.volumeName(for: claim)
        let volume = tables.volumes[name]
        if let bound = claim.spec.volumeName, bound != name { return .nothing }
        if let volume, !tables.isOurs(volume) { return .nothing }

        let view: DatasetView
        do throws(Refusal) {
            view = try self.view(of: claim, storageClass, tables)
        } catch {
            guard let volume else {
                // A claim that lost its volume is told why as well.
                let isWaiting = claim.spec.volumeName == name || isAsked(claim, storageClass, tables)
                return isWaiting ? .refuse(error) : .nothing
            }
            // Only a grant that is gone takes a volume away; a class that somebody edits doesn't.
            guard error.reason == Refusal.notAllowed else { return .nothing }
            let dataset = tables.dataset(of: volume).flatMap { tables.datasets[$0] }
            return .withdraw(volume, evicting: dataset?.revokesAtOnce ?? false, error)
        }
        if let volume {
            guard volume.metadata.annotations?[Names.view] != view.digest else { return .nothing }
            return .withdraw(volume, evicting: false, Refusal("SourceChanged", "the Dataset's source has changed"))
        }
        guard claim.spec.volumeName == name || isAsked(claim, storageClass, tables) else { return .nothing }
        return .create(makeVolume(named: name, for: claim, storageClass, view), view: view)
    }

    /// Kubernetes says by an annotation that a claim waits for its provisioner: after it looked for volumes that are
    /// there already and, for WaitForFirstConsumer, after a pod was scheduled.
    private func isAsked(_ claim: PersistentVolumeClaim, _ storageClass: StorageClass, _ tables: Tables) -> Bool {
        guard claim.spec.volumeName == nil else { return false }
        let annotations = claim.metadata.annotations ?? [:]
        guard
            annotations[Names.storageProvisioner] == tables.driver
                || annotations[Names.storageProvisionerBeta] == tables.driver
        else { return false }
        return storageClass.volumeBindingMode != "WaitForFirstConsumer" || annotations[Names.selectedNode] != nil
    }

    // MARK: What the claim may see

    func view(
        of claim: PersistentVolumeClaim, _ storageClass: StorageClass, _ tables: Tables
    ) throws(Refusal) -> DatasetView {
        let owner = "StorageClass \(storageClass.key.name)"
        let parameters = try ClassParameters(storageClass.parameters ?? [:], of: owner)
        try checkSpec(claim, parameters, owner)
        guard let namespace = tables.namespaces[claim.key.namespace] else {
            throw Refusal("NamespaceUnknown", "namespace \(claim.key.namespace) isn't known yet")
        }
        let subPath = try self.subPath(claim, parameters, owner)
        switch parameters.source {
        case .s3(let source):
            if let allowed = parameters.namespaces, !allowed.contains(claim.key.namespace) {
                throw Refusal(
                    Refusal.notAllowed,
                    "\(owner) isn't for namespace \(claim.key.namespace); its parameter allowedNamespaces must name it")
            }
            if parameters.secret == nil, source.anonymous != true, source.roleARN == nil {
                throw Refusal(
                    "CredentialsMissing",
                    "\(owner) needs the parameters secretName and secretNamespace, or anonymous: \"true\", or roleARN")
            }
            var view = DatasetView(source: source)
            view.subPath = subPath
            view.secret = parameters.secret
            view.mount = parameters.mount
            return view
        case .dataset(let key):
            return try Self.view(of: key, for: namespace.key.name, subPath, tables)
        case .annotation:
            guard let text = claim.metadata.annotations?[Names.dataset] else {
                throw Refusal(
                    "DatasetMissing", "\(owner) needs the annotation \(Names.dataset): namespace/name on the claim")
            }
            guard let key = ObjectKey(reference: text, defaultNamespace: claim.key.namespace) else {
                throw Refusal(
                    "DatasetMissing",
                    "annotation \(Names.dataset) is \"\(text.prefix(100))\"; it must be namespace/name")
            }
            return try Self.view(of: key, for: namespace.key.name, subPath, tables)
        }
    }

    /// The view of a Dataset for a namespace that it is granted to.
    static func view(
        of key: ObjectKey, for name: String, _ subPath: String?, _ tables: Tables
    ) throws(Refusal) -> DatasetView {
        // A Dataset that isn't there and one that isn't for this namespace sound the same: nobody learns by asking what
        // others have.
        guard let dataset = tables.datasets[key], let namespace = tables.namespaces[name], dataset.allows(namespace),
            !dataset.metadata.isBeingDeleted
        else {
            throw Refusal(
                Refusal.notAllowed,
                "Dataset \(key) isn't there or isn't granted to namespace \(name); its owner can grant it by "
                    + "spec.allowedNamespaces")
        }
        if let problem = dataset.spec.source.problem { throw Refusal("SourceInvalid", "Dataset \(key): \(problem)") }
        let view = DatasetView(dataset, subPath: subPath)
        if dataset.isPinned, view.revision == nil {
            throw Refusal("RevisionPending", "Dataset \(key) is pinned and has no revision yet; its status says why")
        }
        return view
    }

    private func checkSpec(
        _ claim: PersistentVolumeClaim, _ parameters: ClassParameters, _ owner: String
    ) throws(Refusal) {
        let spec = claim.spec
        if spec.volumeMode == "Block" {
            throw Refusal("BlockMode", "spec.volumeMode: Block isn't possible for files; use Filesystem")
        }
        if spec.selector != nil {
            throw Refusal("Selector", "spec.selector: volumes are made for the claim, so nothing can be selected")
        }
        if spec.volumeAttributesClassName?.isEmpty == false {
            throw Refusal(
                "AttributesClass", "spec.volumeAttributesClassName: nothing of these volumes can be modified; remove it"
            )
        }
        if spec.dataSource != nil || spec.dataSourceRef != nil {
            throw Refusal("DataSource", "spec.dataSource: volumes of this class aren't filled; remove it")
        }
        let writable = (spec.accessModes ?? []).filter { $0 != "ReadOnlyMany" }
        if !parameters.acceptsWritable, let mode = writable.first {
            throw Refusal("AccessMode", "spec.accessModes: \(mode) is refused by \(owner); use ReadOnlyMany")
        }
    }

    private func subPath(
        _ claim: PersistentVolumeClaim, _ parameters: ClassParameters, _ owner: String
    ) throws(Refusal) -> String? {
        guard let asked = claim.metadata.annotations?[Names.subPath] else { return parameters.subPath }
        guard parameters.allowsSubPath else {
            throw Refusal(
                "SubPath", "annotation \(Names.subPath): \(owner) doesn't permit it (parameter subPathAnnotation)")
        }
        if let problem = subPathProblem(asked) {
            throw Refusal("SubPath", "annotation \(Names.subPath) is \"\(asked.prefix(100))\": \(problem)")
        }
        // Below the class's own sub-path, never beside it.
        guard let base = parameters.subPath else { return asked }
        return base.hasSuffix("/") ? base + asked : "\(base)/\(asked)"
    }

    // MARK: The volume

    private func makeVolume(
        named name: String, for claim: PersistentVolumeClaim, _ storageClass: StorageClass, _ view: DatasetView
    ) -> PersistentVolume {
        var spec = PersistentVolume.Spec()
        spec.capacity = ["storage": claim.spec.resources?.requests?["storage"] ?? "1Gi"]
        spec.accessModes = claim.spec.accessModes
        spec.persistentVolumeReclaimPolicy = storageClass.reclaimPolicy ?? "Delete"
        spec.storageClassName = storageClass.key.name
        spec.volumeMode = "Filesystem"
        spec.claimRef = ObjectReference(claim)
        if let nfs = view.origin.nfs {
            nfs.fill(&spec, subPath: view.subPath)
        } else {
            var csi = PersistentVolume.CSISource(
                driver: storageClass.provisioner,
                volumeHandle: ids.id(name: claim.metadata.uid ?? "", showing: view.summary))
            csi.readOnly = true
            csi.volumeAttributes = view.attributes(forNamespace: claim.key.namespace)
            csi.nodePublishSecretRef = view.secret
            spec.csi = csi
            spec.mountOptions = storageClass.mountOptions
        }
        var labels = [Names.managedBy: Names.controller]
        labels[Names.datasetUID] = view.datasetUID
        var annotations = [Names.provisionedBy: storageClass.provisioner, Names.view: view.digest]
        annotations[Names.dataset] = view.dataset?.description
        return PersistentVolume(
            metadata: ObjectMeta(name: name, labels: labels, annotations: annotations), spec: spec)
    }
}
