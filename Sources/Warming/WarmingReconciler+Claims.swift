import Controller
import Kubernetes

/// The claims that pods mount.
extension WarmingReconciler {
    /// The claim that pods mount, or nil while it is being made.
    func ensureClaim(_ owner: WarmOwner, _ view: DatasetView) async throws(APIError) -> PersistentVolumeClaim? {
        let wanted = WarmClaims.claim(owner, view)
        for claim in tables.claims(of: owner) where claim.key != wanted.key && !claim.metadata.isBeingDeleted {
            try await delete(claim)
        }
        var claim = try await found { () async throws(APIError) in
            try await self.client.get(PersistentVolumeClaim.self, wanted.key.name, namespace: wanted.key.namespace)
        }
        if claim == nil {
            claim = try await client.create(wanted)
            if let claim { tables.claims.set(claim) }
        }
        guard let claim, !claim.metadata.isBeingDeleted else { return nil }
        if claim.status?.phase == "Bound" { return claim }
        if claim.status?.phase == "Lost" {
            try await delete(claim)
            return nil
        }
        let volume = try await found { () async throws(APIError) in
            try await self.client.get(PersistentVolume.self, wanted.key.name)
        }
        if let volume { return volume.spec.claimRef?.uid == claim.metadata.uid ? claim : nil }
        try await client.create(WarmClaims.volume(for: claim, view, ids: ids, driver: driver))
        return claim
    }
}
