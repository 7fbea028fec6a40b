import Controller
import Kubernetes

extension GrantReconciler {
    /// How a session that was minted ended.
    struct Ending: Sendable {
        var isDenied: Bool
        var message: String
    }

    /// Keys that were minted must not work any more; the grant stays and may get others.
    func withdraw(_ grant: CredentialGrant, _ dataset: Dataset?) async throws(BrokerFailure) -> WorkOutcome? {
        guard let ending = await deny(grant, dataset) else { return .failed() }
        try await deleteSecret(of: grant)
        var status = grant.status ?? CredentialGrant.Status()
        status.session = grant.session + 1
        status.scope = nil
        status.sessionName = nil
        status.roleARN = nil
        status.issuedAt = nil
        status.expiresAt = nil
        status.renewAt = nil
        status.secretName = nil
        mark(&status, ending, grant)
        await tell(grant, ending)
        try await write(status, of: grant)
        return nil
    }

    /// The grant is being deleted.
    func end(_ grant: CredentialGrant, _ dataset: Dataset?) async throws(BrokerFailure) -> WorkOutcome {
        guard let ending = await deny(grant, dataset) else { return .failed() }
        try await deleteSecret(of: grant)
        // For who waits for the deletion: a watch's last event has the status.
        var status = grant.status ?? CredentialGrant.Status()
        mark(&status, ending, grant)
        if grant.status?.scope != nil { await tell(grant, ending) }
        try await write(status, of: grant)
        guard let held = try await find(CredentialGrant.self, grant.key.name, in: grant.key.namespace),
            held.metadata.uid == grant.metadata.uid
        else { return .done }
        try await asking { () async throws(APIError) in
            try await client.removeFinalizer(CredentialGrant.finalizer, from: held)
        }
        return .done
    }

    private func deleteSecret(of grant: CredentialGrant) async throws(BrokerFailure) {
        for name in Set([grant.status?.secretName, grant.secretName].compactMap(\.self)) where !grant.isAnswered {
            try await asking { () async throws(APIError) in
                _ = try await secrets.delete(name, in: grant.key.namespace, of: .grant(grant))
            }
        }
    }

    /// nil: to be tried again, as the store may be back soon. That ends when the keys have expired anyway.
    private func deny(_ grant: CredentialGrant, _ dataset: Dataset?) async -> Ending? {
        guard grant.status?.scope != nil, let session = grant.status?.sessionName else {
            return Ending(isDenied: true, message: "No keys were minted.")
        }
        let issued = grant.status?.issuedAt.flatMap(Timestamp.seconds).map(Int64.init) ?? now()
        let expires = grant.status?.expiresAt.flatMap(Timestamp.seconds).map(Int64.init)
        let last = (expires ?? issued) + Int64(BrokeredStore.ttlRange.upperBound)
        let left = "The keys end by themselves at \(Timestamp.at(expires ?? last)) at the latest"
        if (expires ?? last) < now() { return Ending(isDenied: true, message: "The keys have expired.") }
        var store: BrokeredStore
        let keys: SourceCredentials
        do {
            guard let dataset else {
                return Ending(isDenied: false, message: "\(left): the Dataset is gone, so nothing can deny them.")
            }
            store = try BrokeredStore(dataset)
            keys = try await secrets.broker(store.secret)
        } catch let refusal as Refusal {
            return Ending(isDenied: false, message: "\(left): \(refusal.message).")
        } catch {
            guard let failure = error as? BrokerFailure, failure.status >= 500 else {
                return Ending(isDenied: false, message: "\(left): \(error).")
            }
            logger.warning("grant: can't revoke yet", metadata: ["grant": "\(grant.key)", "error": "\(failure)"])
            return nil
        }
        // The role that the session was taken of, should the Dataset name another by now.
        store.roleARN = grant.status?.roleARN
        switch await sessions.deny(session, at: store, until: last, with: keys) {
        case .denied:
            counters.denied.add()
            return Ending(isDenied: true, message: "The store denies session \(session) from now on.")
        case .impossible(let why):
            counters.undeniable.add()
            return Ending(isDenied: false, message: "\(left): \(why).")
        case .failed(let why):
            logger.warning("grant: can't revoke yet", metadata: ["grant": "\(grant.key)", "error": "\(why)"])
            return nil
        }
    }

    private func mark(_ status: inout CredentialGrant.Status, _ ending: Ending, _ grant: CredentialGrant) {
        status.set(
            "Revoked", ending.isDenied ? "True" : "False", ending.isDenied ? "Denied" : "Expires", ending.message,
            generation: grant.metadata.generation)
    }

    private func tell(_ grant: CredentialGrant, _ ending: Ending) async {
        await events.record(
            ending.isDenied ? .normal : .warning, on: ObjectReference(grant),
            reason: ending.isDenied ? "Revoked" : "NotDenied", message: ending.message)
    }
}
