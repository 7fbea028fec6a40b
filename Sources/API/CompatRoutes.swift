import Controller
import Kubernetes

/// PVCi's routes. With `?compat=1`, and on the compat listener, statuses are PVCi's as well.
struct CompatRoutes: Routes {
    let claims: ClaimService
    let sizes: Sizes
    let authorizer: Authorizer
    let settings: APISettings

    var endpoints: [Endpoint] {
        let compat = [Endpoint.Query(name: "compat", summary: "1: statuses as PVCi has them.")]
        let empty = Schema.object([], closed: true)
        func post(
            _ path: String, _ id: String, _ summary: String, _ body: String, _ responses: [Endpoint.Response],
            _ handle: @escaping @Sendable (Call) async throws(Problem) -> Answer
        ) -> Endpoint {
            Endpoint(
                method: .post, path: path, id: id, summary: summary, query: compat, body: .named(body),
                responses: responses, style: .plain, handle: handle)
        }
        let root = Endpoint(
            method: .get, path: "/", id: "getService", summary: "Which service this is.",
            responses: [.init(200, "Version, mode and name.", .named("Service"))], style: .plain, isPublic: true,
            handle: { [settings] _ in
                Answer(body: [
                    "version": .string(settings.version), "mode": .string(settings.mode), "service": "millrace",
                ])
            })
        return [
            root,
            post(
                "/size", "postSize", "Counts objects and bytes below a prefix.", "CompatPlace",
                [.init(200, "What there is.", .named("Size"))], size),
            post(
                "/create", "postCreate", "Makes a claim that shows, or is filled from, a prefix.", "CompatClaim",
                [.init(200, "The claim and what belongs to it are made.", empty)], create),
            post(
                "/create-async", "postCreateAsync", "As /create, and doesn't wait.", "CompatClaim",
                [
                    .init(202, "It is being made; ask /status.", .named("Accepted")),
                    .init(200, "The same, with compat.", empty),
                ], createLater),
            post(
                "/status", "postStatus", "How a claim is doing.", "CompatName",
                [.init(200, "Of the copy and of the claim.", .named("CompatStatus"))],
                { [claims] call async throws(Problem) in
                    Answer(
                        body: try await claims.status(of: ClaimOrder.key(compat: call.body), for: call.caller).compat)
                }),
            post(
                "/cleanup", "postCleanup", "Lets a copy's Job and its pods go.", "CompatName",
                [.init(200, "They go, or weren't there.", empty)],
                { [claims] call async throws(Problem) in
                    try await claims.cleanUp(ClaimOrder.key(compat: call.body), for: call.caller)
                    return .done
                }),
            post(
                "/delete", "postDelete", "Deletes a claim that was made here.", "CompatName",
                [.init(200, "It goes.", empty)],
                { [claims] call async throws(Problem) in
                    try await claims.delete(ClaimOrder.key(compat: call.body), for: call.caller)
                    return .done
                }),
        ]
            + [("rox", "ReadOnlyMany", "postModeRox"), ("rwo", "ReadWriteOnce", "postModeRwo")].map { path, mode, id in
                post(
                    "/mode/\(path)", id, "Sets the access mode of a claim's volume to \(mode).", "CompatName",
                    [.init(200, "It is set.", empty)],
                    { [claims] call async throws(Problem) in
                        try await claims.setMode(mode, of: ClaimOrder.key(compat: call.body), for: call.caller)
                        return .done
                    })
            }
    }

    @Sendable private func size(_ call: Call) async throws(Problem) -> Answer {
        try await authorizer.require(call.caller, path: "/size", verb: "post")
        let place = try Place(compat: Fields(call.body))
        let size = try await sizes.count(place, isDirectory: try call.flag("directory"))
        return Answer(body: ["objects": .integer(size.objects), "bytes": .integer(size.bytes)])
    }

    @Sendable private func create(_ call: Call) async throws(Problem) -> Answer {
        try await claims.create(ClaimOrder(compat: call.body), for: call.caller)
        return .done
    }

    @Sendable private func createLater(_ call: Call) async throws(Problem) -> Answer {
        let order = try ClaimOrder(compat: call.body)
        try await claims.createLater(order, for: call.caller)
        if call.isCompat { return .done }
        let place = ClaimRoutes.path(order.key)
        return Answer(status: 202, body: ["status": .string(place)], headers: [(.location, place)])
    }
}
