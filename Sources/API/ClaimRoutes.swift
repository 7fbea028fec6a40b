import Controller
import HTTPTypes
import Kubernetes

/// Claims that the API makes, as resources.
struct ClaimRoutes: Routes {
    let claims: ClaimService

    static let collection = "/v1/namespaces/{namespace}/claims"
    static func path(_ key: ObjectKey) -> String { "/v1/namespaces/\(key.namespace)/claims/\(key.name)" }

    static func key(_ call: Call) throws(Problem) -> ObjectKey {
        ObjectKey(namespace: try call.name("namespace"), name: try call.name("name"))
    }

    var endpoints: [Endpoint] {
        let claim = Schema.named("Claim")
        let one = Self.collection + "/{name}"
        return [
            Endpoint(
                method: .get, path: Self.collection, id: "listClaims", summary: "The claims made here.",
                responses: [.init(200, "In the order of their names.", .named("ClaimList"))],
                handle: { [claims] call async throws(Problem) in
                    let found = try await claims.list(in: call.name("namespace"), for: call.caller)
                    return Answer(body: ["items": .array(found.map(\.resource))])
                }),
            Endpoint(
                method: .post, path: Self.collection, id: "createClaim",
                summary: "Makes a claim of a Dataset, of a place in an object store, or a clone of a claim.",
                query: [.init(name: "async", summary: "1: answers before it is made.")], body: .named("ClaimOrder"),
                responses: [
                    .init(201, "It is made; nothing is copied.", claim),
                    .init(202, "It is being made, or being filled.", claim),
                ], handle: create),
            Endpoint(
                method: .get, path: one, id: "getClaim", summary: "How a claim is doing.",
                responses: [.init(200, "Its state.", claim)],
                handle: { [claims] call async throws(Problem) in
                    let status = try await claims.status(of: Self.key(call), for: call.caller)
                    if status.phase == .absent { throw Problem(404, "NotFound", status.message) }
                    return Answer(body: status.resource)
                }),
            Endpoint(
                method: .delete, path: one, id: "deleteClaim", summary: "Deletes a claim that was made here.",
                responses: [.init(204, "It goes, with all that belongs to it.")],
                handle: { [claims] call async throws(Problem) in
                    try await claims.delete(Self.key(call), for: call.caller)
                    return Answer(status: 204)
                }),
            Endpoint(
                method: .delete, path: one + "/job", id: "deleteClaimJob", summary: "Lets a copy's Job and pods go.",
                responses: [.init(204, "They go, or weren't there.")],
                handle: { [claims] call async throws(Problem) in
                    try await claims.cleanUp(Self.key(call), for: call.caller)
                    return Answer(status: 204)
                }),
            Endpoint(
                method: .put, path: one + "/mode", id: "setClaimMode",
                summary: "Sets the access mode of a claim's volume while no pod uses it.", body: .named("Mode"),
                responses: [.init(200, "It is set.", claim)], handle: setMode),
        ]
    }

    @Sendable private func create(_ call: Call) async throws(Problem) -> Answer {
        let order = try ClaimOrder(namespace: call.name("namespace"), body: call.body)
        var status = 202
        if try call.flag("async") {
            try await claims.createLater(order, for: call.caller)
        } else if try await claims.create(order, for: call.caller) != .copy {
            status = 201
        }
        let made = try await claims.look(at: order.key)
        return Answer(status: status, body: made.resource, headers: [(.location, Self.path(order.key))])
    }

    @Sendable private func setMode(_ call: Call) async throws(Problem) -> Answer {
        let fields = try Fields(call.body)
        try fields.allow("accessMode")
        let mode = try fields.required("accessMode", most: 32)
        guard ["ReadOnlyMany", "ReadWriteOnce"].contains(mode) else {
            throw .badField("accessMode must be ReadOnlyMany or ReadWriteOnce")
        }
        let key = try Self.key(call)
        try await claims.setMode(mode, of: key, for: call.caller)
        return Answer(body: try await claims.look(at: key).resource)
    }
}
