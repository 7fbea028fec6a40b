import Kubernetes

/// Asks the API server who a bearer token belongs to.
struct TokenReview: KubernetesObject {
    static let resource = Resource(
        group: "authentication.k8s.io", version: "v1", plural: "tokenreviews", kind: "TokenReview", isNamespaced: false)

    struct Spec: Codable, Sendable {
        var token: String
        var audiences: [String]?
    }
    struct Status: Codable, Sendable {
        var authenticated: Bool?
        var user: Caller?
        var audiences: [String]?
    }

    var metadata = ObjectMeta()
    var spec: Spec
    var status: Status?

    init(_ token: String, audiences: [String]) {
        spec = Spec(token: token, audiences: audiences.isEmpty ? nil : audiences)
    }
}

/// Who calls.
struct Caller: Codable, Sendable, Equatable {
    var username: String?
    var uid: String?
    var groups: [String]?
    var extra: [String: [String]]?
}

/// Asks the API server whether somebody may do something.
struct SubjectAccessReview: KubernetesObject {
    static let resource = Resource(
        group: "authorization.k8s.io", version: "v1", plural: "subjectaccessreviews", kind: "SubjectAccessReview",
        isNamespaced: false)

    struct Spec: Codable, Sendable {
        var user: String?
        var uid: String?
        var groups: [String]?
        var extra: [String: [String]]?
        var resourceAttributes: ResourceAttributes?
        var nonResourceAttributes: NonResourceAttributes?
    }
    struct ResourceAttributes: Codable, Sendable {
        var namespace: String?
        var verb: String
        var group: String
        var resource: String
        var name: String?
    }
    struct NonResourceAttributes: Codable, Sendable {
        var path: String
        var verb: String
    }
    struct Status: Codable, Sendable {
        var allowed: Bool?
        var denied: Bool?
    }

    var metadata = ObjectMeta()
    var spec: Spec
    var status: Status?

    init(_ caller: Caller) {
        spec = Spec(user: caller.username, uid: caller.uid, groups: caller.groups, extra: caller.extra)
    }
}
