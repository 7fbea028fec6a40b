import Controller
import Kubernetes

/// The claim and the volume by which warm-ups mount a Dataset, in its own namespace. They are made without a StorageClass,
/// so that they depend on nobody's classes or grants: the Dataset's namespace has its Secret anyway.
enum WarmClaims {
    /// Another view of the data has another name.
    static func name(_ owner: WarmOwner, _ view: DatasetView) -> String {
        "millrace-warm-\(SHA256.hex("\(owner.uid)/\(view.digest)").prefix(16))"
    }

    static func claim(_ owner: WarmOwner, _ view: DatasetView) -> PersistentVolumeClaim {
        let name = name(owner, view)
        var spec = PersistentVolumeClaim.Spec()
        spec.accessModes = ["ReadOnlyMany"]
        spec.storageClassName = ""
        spec.volumeName = name
        spec.resources = PersistentVolumeClaim.Resources(requests: ["storage": "1Gi"])
        return PersistentVolumeClaim(
            metadata: ObjectMeta(
                name: name, namespace: owner.key.namespace,
                labels: [WarmPods.ownerLabel: owner.uid, Names.managedBy: Names.controller],
                ownerReferences: [owner.reference]), spec: spec)
    }

    /// The volume goes with its claim, as all that the controller makes do.
    static func volume(
        for claim: PersistentVolumeClaim, _ view: DatasetView, ids: VolumeIDs, driver: String
    ) -> PersistentVolume {
        let name = claim.key.name
        var csi = PersistentVolume.CSISource(
            driver: driver, volumeHandle: ids.id(name: claim.metadata.uid ?? "", showing: view.summary))
        csi.readOnly = true
        csi.volumeAttributes = view.attributes(forNamespace: claim.key.namespace)
        csi.nodePublishSecretRef = view.secret
        var spec = PersistentVolume.Spec()
        spec.capacity = ["storage": "1Gi"]
        spec.accessModes = ["ReadOnlyMany"]
        spec.persistentVolumeReclaimPolicy = "Delete"
        spec.storageClassName = ""
        spec.volumeMode = "Filesystem"
        spec.claimRef = ObjectReference(claim)
        spec.csi = csi
        return PersistentVolume(
            metadata: ObjectMeta(
                name: name,
                labels: [
                    Names.managedBy: Names.controller,
                    WarmPods.ownerLabel: claim.metadata.labels?[WarmPods.ownerLabel] ?? "",
                ], annotations: ["pv.kubernetes.io/provisioned-by": driver, Names.view: view.digest]), spec: spec)
    }
}
