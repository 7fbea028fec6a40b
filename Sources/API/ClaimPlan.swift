import Controller
import Kubernetes

/// What will be made for an order, as objects: a claim, and what belongs to it and goes with it. A value.
struct ClaimPlan: Sendable {
    enum Kind: String, Sendable {
        /// Of a Dataset that is there.
        case dataset = "Dataset"
        /// Of a Dataset that is made for it: no copy.
        case zeroCopy = "ZeroCopy"
        /// Filled by an import.
        case copy = "Copy"
        /// Of a claim that is there, made by its class's driver.
        case clone = "Clone"
    }

    var order: ClaimOrder
    var kind: Kind
    let className: String
    /// The claim that is cloned.
    private(set) var original: PersistentVolumeClaim?

    init(_ order: ClaimOrder, storageClass: StorageClass, driver: String) throws(Problem) {
        self.order = order
        let name = storageClass.metadata.name ?? ""
        className = name
        let isOurs = storageClass.provisioner == driver
        let takesDataset = storageClass.parameters?["datasetAnnotation"] == "true"
        if isOurs, !takesDataset {
            throw Problem(
                422, "ClassFixed",
                "StorageClass \(name) always shows the same data; name one with the parameter datasetAnnotation: \"true\", "
                    + "or write the claim without this API")
        }
        if order.subPath != nil, storageClass.parameters?["subPathAnnotation"] != "true" {
            throw Problem(422, "SubPath", "StorageClass \(name) doesn't permit subPath (parameter subPathAnnotation)")
        }
        if order.dataset != nil {
            guard isOurs else {
                throw Problem(
                    422, "ClassForeign", "StorageClass \(name) isn't of driver \(driver), so it can't show a Dataset")
            }
            kind = .dataset
        } else {
            kind = isOurs ? .zeroCopy : .copy
            if kind == .copy, order.accessModes == ["ReadOnlyMany"] {
                throw Problem(
                    422, "ReadOnlyCopy",
                    "a copy is written once: leave accessModes out, and when it is Ready clone it (clone) or set its mode to "
                        + "ReadOnlyMany")
            }
            if kind == .copy, order.place?.source.caBundle != nil {
                throw Problem(
                    422, "CABundle",
                    "source.s3.caBundle works without a copy only; make an import with a certConfigMap instead")
            }
        }
    }

    /// A clone, which the driver of the original's class makes.
    init(
        _ order: ClaimOrder, of original: PersistentVolumeClaim, _ status: ClaimStatus, storageClass: StorageClass,
        driver: String
    ) throws(Problem) {
        self.order = order
        self.original = original
        kind = .clone
        className = storageClass.metadata.name ?? ""
        let key = original.key
        if storageClass.provisioner == driver {
            throw Problem(
                422, "ClassOurs",
                "claim \(key) shows a Dataset without a copy; make another claim of it instead of a clone")
        }
        guard original.spec.storageClassName == className else {
            throw Problem(
                422, "ClassOther",
                "claim \(key) is of StorageClass \(original.spec.storageClassName ?? ""), and a clone is of the same one; "
                    + "make a copy with source for another class")
        }
        if storageClass.provisioner.hasPrefix("kubernetes.io/") {
            throw Problem(
                422, "ClassCannotClone",
                "StorageClass \(className) (\(storageClass.provisioner)) can't clone, as only CSI drivers can; "
                    + "make a copy with source, or set the mode of \(key)")
        }
        guard status.phase == .ready, original.status?.phase == "Bound" else {
            throw .conflict("NotReady", "claim \(key) is \(status.phase.rawValue), not Ready: \(status.message)")
        }
    }

    func claim(_ size: Sizes.Size?, mark: String, settings: APISettings) -> PersistentVolumeClaim {
        var labels = Labels.make(for: order.key.name, version: settings.version)
        var annotations = [Names.incomplete: mark]
        if let place = order.place { annotations[Labels.origin] = place.origin }
        if let size {
            annotations[Labels.requestedSize] = String(size.bytes)
            annotations[Labels.objectCount] = String(size.objects)
        }
        annotations[Names.subPath] = order.subPath
        switch kind {
        case .dataset: annotations[Names.dataset] = order.dataset
        case .zeroCopy: annotations[Names.dataset] = order.key.description
        case .copy: labels[Labels.job] = order.key.name
        case .clone:
            for name in [Labels.origin, Labels.requestedSize, Labels.objectCount] {
                annotations[name] = original?.metadata.annotations?[name]
            }
        }
        var spec = PersistentVolumeClaim.Spec()
        spec.storageClassName = className
        spec.volumeMode = "Filesystem"
        spec.accessModes = order.accessModes ?? (kind == .copy ? ["ReadWriteOnce", "ReadOnlyMany"] : ["ReadOnlyMany"])
        let bytes = Sizes.claimBytes(
            size?.bytes ?? 1 << 30, overagePercent: kind == .copy ? settings.overagePercent : 0)
        var capacity = kind == .copy ? String(bytes) : "1Gi"
        if let original {
            spec.dataSource = TypedReference(kind: PersistentVolumeClaim.resource.kind, name: original.key.name)
            // No less than the original's volume has, or its driver refuses.
            capacity =
                original.status?.capacity?["storage"] ?? original.spec.resources?.requests?["storage"] ?? capacity
        }
        spec.resources = .init(requests: ["storage": order.capacity ?? capacity])
        return PersistentVolumeClaim(
            metadata: ObjectMeta(
                name: order.key.name, namespace: order.key.namespace, labels: labels, annotations: annotations),
            spec: spec)
    }

    /// The keys of the request, if it brought any: nowhere else are they written.
    func secret(of claim: PersistentVolumeClaim, settings: APISettings) -> Secret? {
        guard let keys = order.place?.keys else { return nil }
        var metadata = meta(of: claim, settings)
        metadata.generateName = "\(order.key.name)-keys-"
        var secret = Secret(metadata: metadata)
        secret.type = "Opaque"
        secret.stringData = ["accessKeyID": keys.accessKeyID, "secretAccessKey": keys.secretAccessKey]
        secret.stringData?["sessionToken"] = keys.sessionToken
        return secret
    }

    func dataset(of claim: PersistentVolumeClaim, secretName: String?, settings: APISettings) -> Dataset {
        var metadata = meta(of: claim, settings)
        metadata.name = order.key.name
        var spec = Dataset.Spec(source: Dataset.Source(s3: order.place?.source))
        spec.secretRef = secretName.map { Dataset.LocalReference(name: $0) }
        spec.allowedNamespaces = Dataset.AllowedNamespaces(from: "Same")
        return Dataset(metadata: metadata, spec: spec)
    }

    /// Goes when the claim goes.
    func meta(of claim: PersistentVolumeClaim, _ settings: APISettings) -> ObjectMeta {
        ObjectMeta(
            namespace: order.key.namespace, labels: Labels.make(for: order.key.name, version: settings.version),
            ownerReferences: [
                OwnerReference(
                    apiVersion: "v1", kind: "PersistentVolumeClaim", name: order.key.name,
                    uid: claim.metadata.uid ?? "")
            ])
    }
}
