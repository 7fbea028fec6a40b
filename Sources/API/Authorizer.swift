import Kubernetes

/// Asks the API server whether the caller may do what the controller is about to do for them.
struct Authorizer: Sendable {
    let client: Client

    func require<T: KubernetesObject>(
        _ caller: Caller, _ verb: String, _ type: T.Type, in namespace: String?, name: String? = nil
    ) async throws(Problem) {
        try await require(caller, verb, T.resource, in: namespace, name: name)
    }

    func require(
        _ caller: Caller, _ verb: String, _ resource: Resource, in namespace: String?, name: String? = nil
    ) async throws(Problem) {
        var review = SubjectAccessReview(caller)
        review.spec.resourceAttributes = SubjectAccessReview.ResourceAttributes(
            namespace: namespace, verb: verb, group: resource.group, resource: resource.plural, name: name)
        let place = namespace.map { " in namespace \($0)" } ?? ""
        let group = resource.group.isEmpty ? "" : ".\(resource.group)"
        try await require(review, "\(verb) \(resource.plural)\(group)\(place)")
    }

    /// For what is no object: the route itself, as a `nonResourceURL` of a ClusterRole.
    func require(_ caller: Caller, path: String, verb: String) async throws(Problem) {
        var review = SubjectAccessReview(caller)
        review.spec.nonResourceAttributes = SubjectAccessReview.NonResourceAttributes(path: path, verb: verb)
        try await require(review, "\(verb) \(path)")
    }

    private func require(_ review: SubjectAccessReview, _ what: String) async throws(Problem) {
        let status = try await asking { () async throws(APIError) in try await client.create(review) }.status
        guard status?.allowed == true, status?.denied != true else {
            throw Problem(
                403, "Forbidden",
                "\(review.spec.user ?? "?") may not \(what); a Role or ClusterRole must grant it")
        }
    }
}
