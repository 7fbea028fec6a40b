import Controller
import Kubernetes

/// What is to be done next about a claim whose dataSourceRef names an import. The volume is made for another claim, the
/// prime one; once it is filled, it is bound to the claim that asked. No I/O, no clock.
enum PopulateStep: Equatable {
    case nothing
    case makePrime
    case makeJob
    case follow
    /// Give the prime claim's volume to the claim.
    case rebind(volume: String)
    /// The claim has its volume: the prime claim and the Job go.
    case tidy
    case wait(reason: String, message: String)
    case fail
}

enum PopulatePlan {
    static func decide(
        _ claim: PersistentVolumeClaim, item: DatasetImport?, storageClass: StorageClass?,
        prime: PersistentVolumeClaim?, volume: PersistentVolume?, job: Job?
    ) -> PopulateStep {
        // What it owns goes with it.
        if claim.metadata.isBeingDeleted { return .nothing }
        if claim.spec.volumeName?.isEmpty == false { return prime == nil && job == nil ? .nothing : .tidy }
        if let namespace = claim.spec.dataSourceRef?.namespace, namespace != claim.metadata.namespace {
            return .wait(reason: "ImportElsewhere", message: "An import must be in the claim's own namespace.")
        }
        let name = claim.spec.dataSourceRef?.name ?? ""
        guard let item else {
            return .wait(reason: "ImportMissing", message: "There is no DatasetImport \(name) in this namespace.")
        }
        if let problem = ImportCheck.problem(item) { return .wait(reason: problem.reason, message: problem.message) }
        if claim.spec.volumeMode == "Block" {
            return .wait(reason: "ClaimUnusable", message: "Imports write files; ask for volumeMode: Filesystem.")
        }
        guard let storageClass else {
            return .wait(
                reason: "ClassMissing",
                message: "There is no StorageClass \(claim.spec.storageClassName ?? "");"
                    + " a volume must be made for the data.")
        }
        if storageClass.volumeBindingMode == "WaitForFirstConsumer", selectedNode(claim) == nil {
            return .wait(
                reason: "WaitForFirstConsumer", message: "The first pod that uses the claim decides where it is.")
        }
        guard let prime else { return .makePrime }
        guard let job else { return .makeJob }
        if job.failure != nil { return .fail }
        guard job.hasSucceeded else { return .follow }
        guard let volume, let name = volume.metadata.name else {
            return .wait(
                reason: "VolumeMissing", message: "The volume of \(prime.metadata.name ?? "") isn't known yet.")
        }
        if volume.spec.claimRef?.uid == claim.metadata.uid {
            return .wait(reason: "Binding", message: "The volume is filled and about to be bound.")
        }
        return .rebind(volume: name)
    }

    static func selectedNode(_ claim: PersistentVolumeClaim) -> String? {
        claim.metadata.annotations?[ImportNames.selectedNode].flatMap { $0.isEmpty ? nil : $0 }
    }

    static func names(_ claim: PersistentVolumeClaim) -> Bool {
        claim.spec.dataSourceRef?.kind == DatasetImport.resource.kind
            && claim.spec.dataSourceRef?.apiGroup == DatasetImport.resource.group
    }

    /// The claim that the volume is made for.
    static func prime(for claim: PersistentVolumeClaim) -> PersistentVolumeClaim {
        var spec = PersistentVolumeClaim.Spec()
        // It is written once, by the Job; the claim gets it in the modes that it asks for.
        let isReadOnly = claim.spec.accessModes == ["ReadOnlyMany"]
        spec.accessModes = isReadOnly ? ["ReadWriteOnce"] : claim.spec.accessModes
        spec.resources = claim.spec.resources
        spec.storageClassName = claim.spec.storageClassName
        spec.volumeMode = claim.spec.volumeMode
        var metadata = ObjectMeta(
            name: ImportNames.prime(uid: claim.metadata.uid ?? ""), namespace: claim.metadata.namespace,
            labels: [
                Labels.managedBy: Labels.controller, ImportNames.component: ImportNames.importComponent,
                ImportNames.uidLabel: claim.metadata.uid ?? "",
            ], ownerReferences: [owner(claim)])
        metadata.annotations = selectedNode(claim).map { [ImportNames.selectedNode: $0] }
        return PersistentVolumeClaim(metadata: metadata, spec: spec)
    }

    static func owner<T: KubernetesObject>(_ object: T) -> OwnerReference {
        OwnerReference(
            apiVersion: T.resource.apiVersion, kind: T.resource.kind, name: object.metadata.name ?? "",
            uid: object.metadata.uid ?? "", controller: true)
    }
}
