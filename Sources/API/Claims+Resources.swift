import Controller
import Kubernetes

/// What can be done with a claim that is there.
extension ClaimService {
    func status(of key: ObjectKey, for caller: Caller) async throws(Problem) -> ClaimStatus {
        try await authorizer.require(
            caller, "get", PersistentVolumeClaim.self, in: key.namespace, name: key.name)
        return try await look(at: key)
    }

    /// The claims of a namespace that the API made.
    func list(in namespace: String, for caller: Caller) async throws(Problem) -> [ClaimStatus] {
        try await authorizer.require(caller, "list", PersistentVolumeClaim.self, in: namespace)
        let claims = try await asking { () async throws(APIError) in
            try await client.list(PersistentVolumeClaim.self, namespace: namespace, labelSelector: Labels.selector)
        }
        return claims.items.sorted { $0.key < $1.key }.map { ClaimStatus(key: $0.key, claim: $0) }
    }

    func look(at key: ObjectKey) async throws(Problem) -> ClaimStatus {
        var status = ClaimStatus(key: key, background: background.state(of: key))
        status.claim = try await finding { () async throws(APIError) in
            try await client.get(PersistentVolumeClaim.self, key.name, namespace: key.namespace)
        }
        if status.claim?.metadata.labels?[Labels.job] != nil { status.copy = try await copies.status(of: key) }
        // Only a Dataset that was made for the claim: others' are not the caller's to hear of.
        if status.isOurs, status.claim?.metadata.annotations?[Names.dataset] == key.description {
            status.dataset = try await finding { () async throws(APIError) in
                try await client.get(Dataset.self, key.name, namespace: key.namespace)
            }
        }
        return status
    }

    /// The claim, if the API made it. Others' are never touched.
    private func ours(_ key: ObjectKey) async throws(Problem) -> PersistentVolumeClaim {
        let found = try await finding { () async throws(APIError) in
            try await client.get(PersistentVolumeClaim.self, key.name, namespace: key.namespace)
        }
        guard let claim = found else { throw Problem(404, "NotFound", "there is no claim \(key)") }
        guard claim.metadata.labels?[Labels.service] == Labels.serviceValue else {
            throw .conflict(
                "NotOurs", "claim \(key) wasn't made by this API (label \(Labels.service)), so it isn't touched")
        }
        return claim
    }

    /// Deletes a claim; its Secret, Dataset or import go with it.
    func delete(_ key: ObjectKey, for caller: Caller) async throws(Problem) {
        try await authorizer.require(
            caller, "delete", PersistentVolumeClaim.self, in: key.namespace, name: key.name)
        let claim = try await ours(key)
        background.forget(key)
        _ = try await finding { () async throws(APIError) in
            try await client.delete(
                PersistentVolumeClaim.self, key.name, namespace: key.namespace, uid: claim.metadata.uid)
        }
    }

    /// Lets a copy's Job and pods go. Nothing to do is no failure.
    func cleanUp(_ key: ObjectKey, for caller: Caller) async throws(Problem) {
        try await copies.authorize(caller, "patch", in: key.namespace, authorizer)
        background.forget(key)
        try await copies.cleanUp(key)
    }

    /// Changes the access modes of a claim's volume.
    func setMode(_ mode: String, of key: ObjectKey, for caller: Caller) async throws(Problem) {
        try await authorizer.require(
            caller, "patch", PersistentVolumeClaim.self, in: key.namespace, name: key.name)
        let claim = try await ours(key)
        guard claim.status?.phase == "Bound", let name = claim.spec.volumeName else {
            throw .conflict("NotBound", "claim \(key) isn't bound, so there is no volume to change yet")
        }
        let pods = try await asking { () async throws(APIError) in
            try await client.list(Pod.self, namespace: key.namespace)
        }
        let user = pods.items.first {
            $0.mounts(claim: key.name) && !["Succeeded", "Failed"].contains($0.status?.phase ?? "")
        }
        if let user {
            throw .conflict("InUse", "pod \(user.key) uses claim \(key); its mode can be changed when no pod does")
        }
        let volume = try await asking { () async throws(APIError) in try await client.get(PersistentVolume.self, name) }
        guard volume.spec.claimRef?.uid == claim.metadata.uid else {
            throw .conflict("NotBound", "volume \(name) isn't the one of claim \(key)")
        }
        if volume.spec.csi?.driver == settings.driver, mode != "ReadOnlyMany" {
            throw .conflict("ReadOnly", "claim \(key) shows a Dataset, which is read-only; \(mode) isn't possible")
        }
        var patch: JSON = ["spec": ["accessModes": [.string(mode)]]]
        patch.set("metadata", "resourceVersion", to: volume.metadata.resourceVersion.map { .string($0) })
        _ = try await asking { () async throws(APIError) in
            try await client.patch(PersistentVolume.self, name, merge: patch)
        }
    }
}
