import Controller
import Kubernetes

extension CredentialBroker {
    /// The grants of a storage in a namespace.
    public func grants(of storage: ObjectKey, in namespace: String) async throws(BrokerFailure) -> JSON {
        let found = try await list(storage, namespace, name: nil).items
        return ["grants": .array(found.map(Self.summary))]
    }

    /// Deletes the grants of a storage in a namespace (or the one of that name), and keys that were posted for it, and
    /// waits until they are revoked. Says of each what that came to; nothing to revoke is no failure.
    public func revoke(
        _ storage: ObjectKey, in namespace: String, name: String?, secretName: String?
    ) async throws(BrokerFailure) -> Answer {
        let list = try await list(storage, namespace, name: name)
        var results: [JSON] = []
        var isPending = false
        for grant in list.items {
            try await asking { () async throws(APIError) in
                do throws(APIError) {
                    try await client.delete(
                        CredentialGrant.self, grant.key.name, namespace: namespace, uid: grant.metadata.uid)
                } catch {
                    guard error.isNotFound else { throw error }
                }
            }
            var result: JSON = ["name": .string(grant.key.name)]
            if let last = await deletion(of: grant, since: list.resourceVersion) {
                let revoked = last.condition("Revoked")
                result["revoked"] = .bool(revoked?.status != "False")
                result["message"] = .string(revoked?.message ?? "No keys were minted.")
            } else {
                isPending = true
                result["revoked"] = false
                result["message"] = "The grant is being deleted; its keys are revoked as soon as the store answers."
            }
            results.append(result)
        }
        let posted = secretName ?? name ?? storage.name
        let isDeleted = try await asking { () async throws(APIError) in
            try await reconciler.secrets.delete(
                posted, in: namespace, of: .posted(storage: storage.description))
        }
        if isDeleted {
            results.append([
                "secretName": .string(posted), "revoked": false,
                "message": "The Secret is gone; who minted its keys must revoke them, or they end when they expire.",
            ])
        }
        return Answer(status: isPending ? 202 : 200, body: ["revoked": .array(results)])
    }

    private func list(
        _ storage: ObjectKey, _ namespace: String, name: String?
    ) async throws(BrokerFailure) -> Client.List<CredentialGrant> {
        var list = try await asking { () async throws(APIError) in
            try await client.list(CredentialGrant.self, namespace: namespace)
        }
        list.items = list.items.filter { $0.datasetKey == storage && (name == nil || $0.key.name == name) }
        return list
    }

    /// The grant as it was last, once it is gone; nil: that takes longer than a call may.
    private func deletion(of grant: CredentialGrant, since version: String) async -> CredentialGrant? {
        let seconds = max(1, settings.waitMs / 1000)
        return await withTaskGroup(of: CredentialGrant?.self) { group in
            group.addTask { [client] in
                var last: CredentialGrant?
                do throws(APIError) {
                    try await client.watch(
                        CredentialGrant.self, namespace: grant.key.namespace, from: version, timeoutSeconds: seconds
                    ) { event throws(APIError) in
                        if case .deleted(let gone) = event, gone.metadata.uid == grant.metadata.uid {
                            last = gone
                            // The only way to end a watch from inside.
                            throw APIError(code: 0, reason: "Seen", message: "")
                        }
                    }
                } catch { return last }
                return last
            }
            group.addTask {
                try? await Task.sleep(for: .seconds(seconds))
                return nil
            }
            defer { group.cancelAll() }
            return await group.next() ?? nil
        }
    }
}
