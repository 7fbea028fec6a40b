import Controller
import Kubernetes

/// How much there is below a prefix.
struct SizeRoutes: Routes {
    let sizes: Sizes
    let authorizer: Authorizer

    var endpoints: [Endpoint] {
        [
            Endpoint(
                method: .post, path: "/v1/size", id: "measure", summary: "Counts objects and bytes below a prefix.",
                body: .named("Place"), responses: [.init(200, "What there is.", .named("Size"))], handle: measure)
        ]
    }

    @Sendable private func measure(_ call: Call) async throws(Problem) -> Answer {
        try await authorizer.require(call.caller, path: "/v1/size", verb: "post")
        let fields = try Fields(call.body)
        try fields.allow("source", "credentials", "directory")
        guard let place = try Place(fields, hasSecret: false) else { throw .badField("source is missing") }
        let size = try await sizes.count(place, isDirectory: try fields.bool("directory") ?? true)
        return Answer(body: ["objects": .integer(size.objects), "bytes": .integer(size.bytes)])
    }
}
