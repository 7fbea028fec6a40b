import Controller
import Kubernetes

import enum S3.Dates

/// What the HTTP API does with orders. The caller's rights are checked before; these calls act as the controller.
public struct CredentialBroker: Sendable {
    let client: Client
    let reconciler: GrantReconciler
    let settings: Settings

    public struct Settings: Sendable {
        /// How long a call waits for the grant to become ready, or to be gone.
        public var waitMs = 20_000
        /// Between two looks.
        public var lookMs = 100
        public init() {}
    }

    public init(client: Client, reconciler: GrantReconciler, settings: Settings = Settings()) {
        self.client = client
        self.reconciler = reconciler
        self.settings = settings
    }

    public struct Answer: Sendable, Equatable {
        /// 200, or 202 where the work goes on.
        public var status: Int
        /// With secrets in it if keys were asked for: not for a log.
        public var body: JSON
    }

    public func perform(_ order: KeyOrder) async throws(BrokerFailure) -> Answer {
        switch order.kind {
        case .mint: return try await mint(order)
        case .retrieve: return try await retrieve(order)
        case .store(let credentials): return try await store(credentials, order)
        }
    }

    // MARK: Here

    private func mint(_ order: KeyOrder) async throws(BrokerFailure) -> Answer {
        var grant = try await ensure(order)
        let end = ContinuousClock.now + .milliseconds(settings.waitMs)
        while ContinuousClock.now < end {
            if let ready = grant.condition("Ready"), ready.observedGeneration == grant.metadata.generation {
                if ready.status == "True" { return Answer(status: 200, body: Self.summary(grant)) }
                // A store that doesn't answer is tried again; what a person must change is told at once.
                if grant.status?.observedGeneration == grant.metadata.generation || ready.reason == "SecretTaken" {
                    throw BrokerFailure(ready.reason == Refusal.notAllowed ? 403 : 422, ready.reason, ready.message)
                }
            }
            try? await Task.sleep(for: .milliseconds(settings.lookMs))
            guard let next = try await reconciler.find(CredentialGrant.self, order.name, in: order.namespace) else {
                throw BrokerFailure(409, "Deleted", "grant \(order.namespace)/\(order.name) was deleted meanwhile")
            }
            grant = next
        }
        return Answer(status: 202, body: Self.summary(grant))
    }

    /// Makes the grant, or changes it to what is asked now.
    private func ensure(_ order: KeyOrder) async throws(BrokerFailure) -> CredentialGrant {
        let wanted = order.grant
        guard let old = try await reconciler.find(CredentialGrant.self, order.name, in: order.namespace) else {
            return try await asking { () async throws(APIError) in try await client.create(wanted) }
        }
        guard old.datasetKey == order.storage, old.isAnswered == wanted.isAnswered, !old.metadata.isBeingDeleted else {
            throw BrokerFailure(
                409, "GrantTaken",
                "grant \(order.namespace)/\(order.name) is there for something else, or is being deleted; give "
                    + "another name")
        }
        if old.spec == wanted.spec { return old }
        let patch: JSON = ["spec": Self.patch(wanted.spec)]
        return try await asking { () async throws(APIError) in
            try await client.patch(CredentialGrant.self, order.name, namespace: order.namespace, merge: patch)
        }
    }

    private static func patch(_ spec: CredentialGrant.Spec) -> JSON {
        func text(_ value: String?) -> JSON { value.map { .string($0) } ?? .null }
        return [
            "access": text(spec.access), "subPath": text(spec.subPath), "secretName": text(spec.secretName),
            "ttlSeconds": spec.ttlSeconds.map { .integer($0) } ?? .null, "keys": spec.keys.map { JSON($0) } ?? .null,
        ]
    }

    // MARK: For another cluster

    private func retrieve(_ order: KeyOrder) async throws(BrokerFailure) -> Answer {
        _ = try await ensure(order)
        var failure = BrokerFailure(503, "Conflict", "grant \(order.namespace)/\(order.name) keeps changing")
        for _ in 0..<10 {
            do throws(BrokerFailure) {
                if let answer = try await retrieveOnce(order) { return answer }
            } catch {
                // The controller may have taken the same step.
                guard error.reason == "Conflict" else { throw error }
                failure = error
                try? await Task.sleep(for: .milliseconds(Int.random(in: 10...settings.lookMs)))
            }
        }
        throw failure
    }

    /// One step towards the keys; nil: look again.
    private func retrieveOnce(_ order: KeyOrder) async throws(BrokerFailure) -> Answer? {
        guard let grant = try await reconciler.find(CredentialGrant.self, order.name, in: order.namespace) else {
            throw BrokerFailure(409, "Deleted", "grant \(order.namespace)/\(order.name) was deleted meanwhile")
        }
        let dataset = try await reconciler.dataset(of: grant)
        let namespace = try await reconciler.find(Namespace.self, order.namespace, in: nil)
        let scope = GrantReconciler.scope(grant, dataset, namespace)
        switch GrantPlan.next(grant, scope, secretIsThere: false, now: reconciler.now()) {
        case .hold: try await reconciler.hold(grant)
        case .begin(let scope): try await reconciler.begin(grant, scope)
        case .withdraw:
            if case .failure(let refusal) = scope { throw .refusal(refusal) }
            _ = try await reconciler.withdraw(grant, dataset)
        case .refuse(let refusal): throw .refusal(refusal)
        case .ready:
            guard case .success(let scope) = scope else { return nil }
            let issued = reconciler.now()
            let credentials = try await reconciler.mint(grant, scope)
            let expires = credentials.expires ?? issued + Int64(scope.ttlSeconds)
            // Keys that nobody can tell of aren't given away.
            try await reconciler.noteMinted(grant, issued: issued, expires: expires)
            var body = Self.summary(grant)
            body["credentials"] = JSON(GrantKeys.values(credentials, scope))
            body["expiration"] = .string(Timestamp.at(expires))
            body["ready"] = true
            return Answer(status: 200, body: body)
        case .nothing, .end, .mint, .wait:
            throw BrokerFailure(409, "Deleted", "grant \(order.namespace)/\(order.name) is being deleted")
        }
        return nil
    }

    private func store(_ credentials: [String: String], _ order: KeyOrder) async throws(BrokerFailure) -> Answer {
        if let expires = credentials["expiration"] {
            guard let time = Dates.parseISO8601(expires) else {
                throw BrokerFailure(400, "BadRequest", "credentials.expiration isn't a time like 2030-01-02T03:04:05Z")
            }
            guard time > reconciler.now() else {
                throw BrokerFailure(422, "Expired", "the credentials have expired; retrieve new ones")
            }
        }
        let name = order.secretName ?? order.name
        try await reconciler.secrets.put(
            GrantKeys.named(credentials, order.keys), as: name, in: order.namespace,
            of: .posted(storage: order.storage.description), expires: credentials["expiration"])
        var body: JSON = [
            "storage": .string(order.storage.description), "namespace": .string(order.namespace),
            "secretName": .string(name), "ready": true,
            "message": "The keys aren't renewed here: post new ones before they expire.",
        ]
        body["expiration"] = credentials["expiration"].map { .string($0) }
        return Answer(status: 200, body: body)
    }

    static func summary(_ grant: CredentialGrant) -> JSON {
        let ready = grant.condition("Ready")
        var body: JSON = [
            "storage": .string(grant.spec.dataset), "namespace": .string(grant.key.namespace),
            "name": .string(grant.key.name), "ready": .bool(ready?.status == "True"),
        ]
        if !grant.isAnswered { body["secretName"] = .string(grant.secretName) }
        body["message"] = ready.map { .string($0.message) }
        body["reason"] = ready.map { .string($0.reason) }
        body["expiration"] = grant.status?.expiresAt.map { .string($0) }
        body["session"] = grant.status?.sessionName.map { .string($0) }
        return body
    }
}
