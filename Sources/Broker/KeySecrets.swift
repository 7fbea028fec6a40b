import Controller
import FoundationEssentials
import Kubernetes

/// The Secrets that hold minted keys, and those of the keys that mint.
struct KeySecrets: Sendable {
    let client: Client

    /// Whose Secret it is: only that one is ever changed or deleted.
    enum Owner: Sendable {
        case grant(CredentialGrant)
        /// Keys that were minted elsewhere and stored through the API, for the storage of that name.
        case posted(storage: String)

        func owns(_ secret: Kubernetes.Secret) -> Bool {
            guard secret.metadata.labels?[Controller.Names.managedBy] == Controller.Names.controller else {
                return false
            }
            switch self {
            case .grant(let grant):
                return secret.metadata.ownerReferences?.contains { $0.uid == grant.metadata.uid } ?? false
            case .posted(let storage): return secret.metadata.annotations?[KeySecrets.postedFor] == storage
            }
        }
    }

    static let postedFor = "millrace.dev/posted-for"
    static let expires = "millrace.dev/expires"

    /// Keys that may take a Dataset's role.
    func broker(_ reference: SecretReference) async throws(BrokerFailure) -> SourceCredentials {
        let name = "\(reference.namespace)/\(reference.name)"
        let secret: Kubernetes.Secret
        do throws(APIError) {
            secret = try await client.get(Kubernetes.Secret.self, reference.name, namespace: reference.namespace)
        } catch {
            if error.isNotFound {
                throw .refused(
                    "SecretMissing", "Secret \(name) of the Dataset's broker isn't there; its owner can create it")
            }
            if error.isForbidden {
                throw .refused(
                    "SecretNotReadable", "the controller may not read Secret \(name); an admin can let it by a Role")
            }
            throw .kubernetes(error)
        }
        var data: [String: String] = [:]
        for (key, value) in secret.data ?? [:] {
            if let bytes = Data(base64Encoded: value) { data[key] = String(decoding: bytes, as: UTF8.self) }
        }
        do throws(Refusal) { return try SourceCredentials(secret: data, named: name) } catch { throw .refusal(error) }
    }

    func isThere(_ name: String, in namespace: String, of owner: Owner) async throws(APIError) -> Bool {
        guard let secret = try await find(name, in: namespace) else { return false }
        return owner.owns(secret)
    }

    /// Throws where somebody else's Secret has the name: known before keys are minted for nothing.
    func check(_ name: String, in namespace: String, of owner: Owner) async throws(BrokerFailure) {
        let secret = try await asking { () async throws(APIError) in try await find(name, in: namespace) }
        if let secret, !owner.owns(secret) { throw .taken(name, namespace) }
    }

    /// Creates or replaces what is in the Secret. Somebody else's of that name is left alone.
    func put(
        _ data: [String: String], as name: String, in namespace: String, of owner: Owner, expires: String?
    ) async throws(BrokerFailure) {
        let encoded = data.mapValues { Data($0.utf8).base64EncodedString() }
        guard let old = try await asking({ () async throws(APIError) in try await find(name, in: namespace) }) else {
            let secret = make(encoded, name, namespace, owner, expires)
            _ = try await asking { () async throws(APIError) in try await client.create(secret) }
            return
        }
        guard owner.owns(old) else { throw .taken(name, namespace) }
        var patch: JSON = ["data": JSON(encoded)]
        // Names that aren't wanted any more go.
        for key in (old.data ?? [:]).keys where encoded[key] == nil { patch.set("data", key, to: JSON.null) }
        patch.set("metadata", "uid", to: old.metadata.uid.map { .string($0) })
        patch.set("metadata", "annotations", Self.expires, to: expires.map { .string($0) } ?? JSON.null)
        let change = patch
        _ = try await asking { () async throws(APIError) in
            try await client.patch(Kubernetes.Secret.self, name, namespace: namespace, merge: change)
        }
    }

    /// False where there was none of this owner's.
    @discardableResult
    func delete(_ name: String, in namespace: String, of owner: Owner) async throws(APIError) -> Bool {
        guard let secret = try await find(name, in: namespace), owner.owns(secret) else { return false }
        do throws(APIError) {
            try await client.delete(Kubernetes.Secret.self, name, namespace: namespace, uid: secret.metadata.uid)
        } catch {
            guard error.isNotFound else { throw error }
        }
        return true
    }

    private func find(_ name: String, in namespace: String) async throws(APIError) -> Kubernetes.Secret? {
        do throws(APIError) { return try await client.get(Kubernetes.Secret.self, name, namespace: namespace) } catch {
            guard error.isNotFound else { throw error }
            return nil
        }
    }

    private func make(
        _ data: [String: String], _ name: String, _ namespace: String, _ owner: Owner, _ expires: String?
    ) -> Kubernetes.Secret {
        var metadata = ObjectMeta(
            name: name, namespace: namespace,
            labels: [Controller.Names.managedBy: Controller.Names.controller], annotations: [:])
        metadata.annotations?[Self.expires] = expires
        switch owner {
        case .grant(let grant):
            metadata.ownerReferences = [
                OwnerReference(
                    apiVersion: CredentialGrant.resource.apiVersion, kind: CredentialGrant.resource.kind,
                    name: grant.metadata.name ?? "", uid: grant.metadata.uid ?? "", controller: true)
            ]
        case .posted(let storage): metadata.annotations?[Self.postedFor] = storage
        }
        var secret = Kubernetes.Secret(metadata: metadata)
        secret.type = "Opaque"
        secret.data = data
        return secret
    }
}
