import Controller
import Kubernetes
import Logging
import PrometheusMetrics

import struct S3.Credentials
import enum S3.WallClock

/// Brings one grant to where it should be, step by step. May be cut off anywhere and be called again.
public struct GrantReconciler: Sendable {
    let client: Client
    let sessions: any SessionService
    let secrets: KeySecrets
    let events: EventRecorder
    let counters: BrokerCounters
    let logger: Logger
    let now: @Sendable () -> Int64
    /// Steps in one go; more would be a loop that never ends.
    private static let mostSteps = 8

    public init(
        client: Client, sessions: any SessionService, metrics: Registry, logger: Logger,
        now: @escaping @Sendable () -> Int64 = WallClock.system
    ) {
        self.client = client
        self.sessions = sessions
        self.logger = logger
        self.now = now
        secrets = KeySecrets(client: client)
        events = EventRecorder(client: client, component: Controller.Names.controller, logger: logger)
        counters = BrokerCounters(metrics)
    }

    public func reconcile(_ key: ObjectKey) async -> WorkOutcome {
        do throws(BrokerFailure) {
            for _ in 0..<Self.mostSteps {
                if let outcome = try await step(key) { return outcome }
            }
            return .failed()
        } catch {
            counters.failures.add()
            logger.log(
                level: error.reason == "Conflict" ? .debug : .warning, "grant: will try again",
                metadata: ["grant": "\(key)", "reason": "\(error.reason)", "error": "\(error)"])
            return .failed()
        }
    }

    /// One step; nil: look again at once. Everything is read anew, as acting on an old state mints or revokes twice.
    private func step(_ key: ObjectKey) async throws(BrokerFailure) -> WorkOutcome? {
        guard let grant = try await find(CredentialGrant.self, key.name, in: key.namespace) else { return .done }
        let dataset = try await dataset(of: grant)
        let namespace = try await find(Namespace.self, key.namespace, in: nil)
        let scope = Self.scope(grant, dataset, namespace)
        let secretIsThere =
            grant.isAnswered
            ? false
            : try await asking { () async throws(APIError) in
                try await secrets.isThere(grant.secretName, in: key.namespace, of: .grant(grant))
            }
        switch GrantPlan.next(grant, scope, secretIsThere: secretIsThere, now: now()) {
        case .nothing: return .done
        case .hold: try await hold(grant)
        case .begin(let scope): try await begin(grant, scope)
        case .mint(let scope): return try await renew(grant, scope)
        case .withdraw: return try await withdraw(grant, dataset)
        case .refuse(let refusal):
            try await report(grant, false, refusal.reason, refusal.message)
            return .done
        case .ready:
            try await report(grant, true, "Ready", "Keys are minted for those who ask for them.")
            return .done
        case .wait(let until): return .again(afterMs: Int(max(1, until - now())) * 1000)
        case .end: return try await end(grant, dataset)
        }
        return nil
    }

    static func scope(
        _ grant: CredentialGrant, _ dataset: Dataset?, _ namespace: Namespace?
    ) -> Result<GrantScope, Refusal> {
        do throws(Refusal) { return .success(try GrantScope(grant, dataset, in: namespace)) } catch {
            return .failure(error)
        }
    }

    // MARK: Steps

    func hold(_ grant: CredentialGrant) async throws(BrokerFailure) {
        try await asking { () async throws(APIError) in
            try await client.addFinalizer(CredentialGrant.finalizer, to: grant)
        }
    }

    func begin(_ grant: CredentialGrant, _ scope: GrantScope) async throws(BrokerFailure) {
        var status = grant.status ?? CredentialGrant.Status()
        status.session = grant.session
        status.sessionName = grant.sessionName(grant.session)
        status.roleARN = scope.store.roleARN
        status.scope = scope.digest
        status.issuedAt = Timestamp.at(now())
        status.expiresAt = nil
        status.renewAt = nil
        try await write(status, of: grant)
    }

    /// Keys for the grant's present session.
    func mint(_ grant: CredentialGrant, _ scope: GrantScope) async throws(BrokerFailure) -> Credentials {
        let keys = try await secrets.broker(scope.store.secret)
        let session = grant.sessionName(grant.session)
        switch await sessions.mint(scope, session: session, with: keys) {
        case .success(let credentials):
            counters.minted.add()
            return credentials
        case .failure(let failure): throw BrokerFailure(502, "MintFailed", failure.message)
        }
    }

    private func renew(_ grant: CredentialGrant, _ scope: GrantScope) async throws(BrokerFailure) -> WorkOutcome {
        let issued = now()
        let expires: Int64
        do throws(BrokerFailure) {
            try await secrets.check(grant.secretName, in: grant.key.namespace, of: .grant(grant))
            let credentials = try await mint(grant, scope)
            expires = credentials.expires ?? issued + Int64(scope.ttlSeconds)
            try await secrets.put(
                GrantKeys.named(GrantKeys.values(credentials, scope), grant.spec.keys), as: grant.secretName,
                in: grant.key.namespace, of: .grant(grant), expires: Timestamp.at(expires))
            if let old = grant.status?.secretName, old != grant.secretName {
                try await asking { () async throws(APIError) in
                    _ = try await secrets.delete(old, in: grant.key.namespace, of: .grant(grant))
                }
            }
        } catch {
            try await reportFailure(grant, error)
            throw error
        }
        try await noteMinted(grant, issued: issued, expires: expires)
        return .again(afterMs: 1)
    }

    func noteMinted(_ grant: CredentialGrant, issued: Int64, expires: Int64) async throws(BrokerFailure) {
        var random = SystemRandomNumberGenerator()
        let renewal = GrantPlan.renewal(issued: issued, expires: expires, using: &random)
        var status = grant.status ?? CredentialGrant.Status()
        status.issuedAt = Timestamp.at(issued)
        status.expiresAt = Timestamp.at(expires)
        status.renewAt = grant.isAnswered ? nil : Timestamp.at(renewal)
        status.secretName = grant.isAnswered ? nil : grant.secretName
        let text =
            grant.isAnswered
            ? "Keys were given out until \(Timestamp.at(expires))."
            : "Secret \(grant.secretName) holds keys until \(Timestamp.at(expires)); they are renewed before."
        status.set("Ready", "True", "Minted", text, generation: grant.metadata.generation)
        status.observedGeneration = grant.metadata.generation
        try await write(status, of: grant)
    }

    // MARK: Reading and telling

    func dataset(of grant: CredentialGrant) async throws(BrokerFailure) -> Dataset? {
        guard let key = grant.datasetKey else { return nil }
        return try await find(Dataset.self, key.name, in: key.namespace)
    }

    func find<T: KubernetesObject>(
        _ type: T.Type, _ name: String, in namespace: String?
    ) async throws(BrokerFailure) -> T? {
        do throws(APIError) { return try await client.get(T.self, name, namespace: namespace) } catch {
            guard error.isNotFound else { throw .kubernetes(error) }
            return nil
        }
    }

    /// Only over the version that was read: of two who write, one looks again.
    func write(_ status: CredentialGrant.Status, of grant: CredentialGrant) async throws(BrokerFailure) {
        guard status != grant.status else { return }
        var patch: JSON = ["status": status.patch]
        patch.set("metadata", "resourceVersion", to: grant.metadata.resourceVersion.map { .string($0) })
        let change = patch
        _ = try await asking { () async throws(APIError) in
            try await client.patch(
                CredentialGrant.self, grant.key.name, namespace: grant.key.namespace, merge: change,
                subresource: "status")
        }
    }

    private func report(
        _ grant: CredentialGrant, _ isReady: Bool, _ reason: String, _ message: String
    ) async throws(BrokerFailure) {
        var status = grant.status ?? CredentialGrant.Status()
        status.set("Ready", isReady ? "True" : "False", reason, message, generation: grant.metadata.generation)
        status.observedGeneration = grant.metadata.generation
        guard status != grant.status else { return }
        if !isReady {
            await events.record(.warning, on: ObjectReference(grant), reason: reason, message: message)
        }
        try await write(status, of: grant)
    }

    /// Keys that still work are told apart from none.
    private func reportFailure(_ grant: CredentialGrant, _ failure: BrokerFailure) async throws(BrokerFailure) {
        let expires = grant.status?.expiresAt.flatMap(Timestamp.seconds).map(Int64.init) ?? 0
        let isGood = expires > now() && failure.reason != "SecretTaken"
        var status = grant.status ?? CredentialGrant.Status()
        status.set(
            "Ready", isGood ? "True" : "False", isGood ? "RenewalFails" : failure.reason, failure.message,
            generation: grant.metadata.generation)
        await events.record(.warning, on: ObjectReference(grant), reason: failure.reason, message: failure.message)
        try await write(status, of: grant)
    }
}

struct BrokerCounters: Sendable {
    let minted: Counter
    let denied: Counter
    let undeniable: Counter
    let failures: Counter

    init(_ registry: Registry) {
        func counter(_ name: String, _ help: String) -> Counter {
            registry.counter("millrace_broker_\(name)", help)
        }
        minted = counter("minted_total", "Keys that were minted.")
        denied = counter("sessions_denied_total", "Sessions that their store denies before their keys expire.")
        undeniable = counter("sessions_left_total", "Revoked sessions that end only when their keys expire.")
        failures = counter("failures_total", "Looks at grants that ended in an error and come again.")
    }
}
