import Broker
import Controller
import HTTPTypes
import Kubernetes

/// Keys of a storage (a Dataset) for a namespace: minted here, answered for another cluster, or stored for one.
struct CredentialRoutes: Routes {
    /// nil: this controller mints no keys.
    let broker: CredentialBroker?
    let authorizer: Authorizer

    static let path = "/v1/credentials/{owner}/{storage}/{namespace}"

    var endpoints: [Endpoint] {
        let names: [Endpoint.Query] = [
            .init(name: "name", summary: "One grant of that name."),
            .init(name: "secretName", summary: "The Secret of keys that were stored."),
        ]
        return [
            Endpoint(
                method: .get, path: Self.path, id: "listCredentials", summary: "What keys of a storage were minted.",
                responses: [.init(200, "Without the keys.", .named("GrantList"))], handle: list),
            Endpoint(
                method: .post, path: Self.path, id: "orderCredentials",
                summary:
                    "Mints keys into a Secret here (an empty body), answers them, or stores those of another cluster.",
                body: .named("KeyOrder"), bodyIsOptional: true,
                responses: [
                    .init(200, "The keys are there.", .named("KeyAnswer")),
                    .init(202, "The store takes its time; ask again.", .named("KeyAnswer")),
                ], handle: order),
            Endpoint(
                method: .delete, path: Self.path, id: "revokeCredentials", summary: "Takes keys back.", query: names,
                responses: [
                    .init(200, "What became of each.", .named("Revocations")),
                    .init(202, "The store doesn't answer yet.", .named("Revocations")),
                ], handle: revoke),
        ]
    }

    private func storage(_ call: Call) throws(Problem) -> ObjectKey {
        ObjectKey(namespace: try call.name("owner"), name: try call.name("storage"))
    }

    /// The rights of the caller come first: who may do nothing learns nothing.
    private func working() throws(Problem) -> CredentialBroker {
        guard let broker else {
            throw Problem(501, "BrokerOff", "this controller mints no keys; an admin can switch broker.enabled on")
        }
        return broker
    }

    /// Of several kinds of answer those that go on say where to look.
    private func answered(_ answer: CredentialBroker.Answer, _ storage: ObjectKey, _ namespace: String) -> Answer {
        var headers: [(HTTPField.Name, String)] = []
        if answer.status == 202 {
            headers = [(.location, "/v1/credentials/\(storage.namespace)/\(storage.name)/\(namespace)")]
        }
        return Answer(status: answer.status, body: answer.body, headers: headers)
    }

    @Sendable private func list(_ call: Call) async throws(Problem) -> Answer {
        let namespace = try call.name("namespace")
        try await authorizer.require(call.caller, "list", CredentialGrant.self, in: namespace)
        let storage = try storage(call)
        let broker = try working()
        return Answer(
            body: try await brokering { () async throws(BrokerFailure) in
                try await broker.grants(of: storage, in: namespace)
            })
    }

    @Sendable private func order(_ call: Call) async throws(Problem) -> Answer {
        let namespace = try call.name("namespace")
        let storage = try storage(call)
        let order = try await brokering { () async throws(BrokerFailure) in
            try KeyOrder(call.body, storage: storage, namespace: namespace)
        }
        switch order.kind {
        case .mint: try await authorizer.require(call.caller, "create", CredentialGrant.self, in: namespace)
        case .retrieve:
            try await authorizer.require(call.caller, "create", CredentialGrant.self, in: namespace)
            // Who could read the Secret may have the keys.
            try await authorizer.require(call.caller, "get", Secret.self, in: namespace)
        case .store:
            try await authorizer.require(call.caller, "create", Secret.self, in: namespace)
            // A Secret that was stored before is replaced.
            try await authorizer.require(call.caller, "update", Secret.self, in: namespace)
        }
        let broker = try working()
        let answer = try await brokering { () async throws(BrokerFailure) in try await broker.perform(order) }
        return answered(answer, storage, namespace)
    }

    @Sendable private func revoke(_ call: Call) async throws(Problem) -> Answer {
        let namespace = try call.name("namespace")
        let storage = try storage(call)
        try await authorizer.require(call.caller, "delete", CredentialGrant.self, in: namespace)
        try await authorizer.require(call.caller, "delete", Secret.self, in: namespace)
        let broker = try working()
        let answer = try await brokering { () async throws(BrokerFailure) in
            try await broker.revoke(
                storage, in: namespace, name: call.query["name"], secretName: call.query["secretName"])
        }
        return answered(answer, storage, namespace)
    }

    private func brokering<T: Sendable>(
        _ call: () async throws(BrokerFailure) -> T
    ) async throws(Problem) -> T {
        do throws(BrokerFailure) { return try await call() } catch {
            throw Problem(error.status, error.reason, error.message)
        }
    }

    static let schemas: [String: Schema] = [
        "KeyOrder": .fields(
            .may("retrieve", .boolean("true: the keys are answered and kept nowhere.")),
            .may("credentials", .free("Keys that another cluster answered, to be stored here.")),
            .may("name", .string("The grant's.")), .may("access", .choice(["ReadOnly", "ReadWrite"])),
            .may("subPath", .string()), .may("ttlSeconds", .integer()), .may("secretName", .string()),
            .may("keys", .free("Names of the Secret's keys by what they hold.")), closed: true),
        "KeyAnswer": .fields(
            .must("storage", .string()), .must("namespace", .string()), .must("ready", .boolean()),
            .may("name", .string()), .may("secretName", .string()), .may("expiration", .string()),
            .may("session", .string("What the store's logs call who uses the keys.")), .may("message", .string()),
            .may("reason", .string()), .may("credentials", .free("With retrieve alone: the keys.")), closed: true),
        "GrantList": .fields(.must("grants", .list(.named("KeyAnswer"))), closed: true),
        "Revocations": .fields(
            .must(
                "revoked",
                .list(
                    .fields(
                        .must("revoked", .boolean("false: the keys work until they expire.")),
                        .must("message", .string()), .may("name", .string()), .may("secretName", .string()),
                        closed: true))), closed: true),
    ]
}
