import Kubernetes

public enum VolumeDecision: Sendable {
    case keep
    /// Delete the API object; the data isn't ours to delete, and no call here could.
    case delete(PersistentVolume)
}

/// Decides about volumes that were made here and whose claim may be gone.
public enum Reclaiming {
    public static func decide(_ name: String, _ tables: Tables) -> VolumeDecision {
        guard let volume = tables.volumes[name], tables.isOurs(volume), !volume.metadata.isBeingDeleted,
            let reference = volume.spec.claimRef, let claimName = reference.name
        else { return .keep }
        let claim = tables.claims[ObjectKey(namespace: reference.namespace, name: claimName)]
        if let claim, claim.metadata.uid == reference.uid {
            // The claim took another volume before it saw this one.
            if let bound = claim.spec.volumeName, bound != name { return .delete(volume) }
            return .keep
        }
        // That the claim is gone is Kubernetes' word, not our cache's: then the phase says so.
        let isReleased = volume.status?.phase == "Released" || volume.status?.phase == "Failed"
        return isReleased && volume.spec.persistentVolumeReclaimPolicy == "Delete" ? .delete(volume) : .keep
    }
}
