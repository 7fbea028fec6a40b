import Kubernetes

/// Who is behind a token, and who may do what, as TokenReview and SubjectAccessReview ask it. Rules can be switched under
/// way; those at first are: the token `user:NAME` is NAME's, `admin` may do everything, and `NAMESPACE-user` everything
/// in that namespace and all that is no resource.
public struct AccessRules: Sendable {
    public struct Question: Sendable, Equatable {
        public var user: String
        public var groups: [String] = []
        public var verb: String
        public var group = ""
        public var resource = ""
        public var namespace = ""
        public var name = ""
        /// Of what is no resource.
        public var path = ""
    }
    public struct Owner: Sendable, Equatable {
        public var name: String
        public var groups: [String]
        public init(name: String, groups: [String] = ["system:authenticated"]) {
            self.name = name
            self.groups = groups
        }
    }

    /// Whose a token is; nil: nobody's.
    public var owner: @Sendable (_ token: String) -> Owner? = { token in
        token.hasPrefix("user:") ? Owner(name: String(token.dropFirst(5))) : nil
    }
    public var allows: @Sendable (Question) -> Bool = { question in
        if question.user == "admin" { return true }
        return question.path.isEmpty
            ? question.user == "\(question.namespace)-user" : question.user.hasSuffix("-user")
    }
    /// False: as a server that doesn't look at audiences, and so answers none.
    public var knowsAudiences = true
    public init() {}

    func review(_ object: JSON, _ kind: String) -> JSON? {
        var answer = object
        switch kind {
        case "TokenReview":
            guard let owner = owner(object.at("spec", "token")?.string ?? "") else {
                answer["status"] = ["user": [:], "error": "invalid bearer token"]
                return answer
            }
            answer["status"] = [
                "authenticated": true,
                "user": ["username": .string(owner.name), "groups": .array(owner.groups.map { .string($0) })],
            ]
            if knowsAudiences { answer.set("status", "audiences", to: object.at("spec", "audiences")) }
            return answer
        case "SubjectAccessReview":
            let resource = object.at("spec", "resourceAttributes")
            let other = object.at("spec", "nonResourceAttributes")
            let question = Question(
                user: object.at("spec", "user")?.string ?? "",
                groups: (object.at("spec", "groups")?.array ?? []).compactMap(\.string),
                verb: (resource ?? other)?["verb"]?.string ?? "", group: resource?["group"]?.string ?? "",
                resource: resource?["resource"]?.string ?? "", namespace: resource?["namespace"]?.string ?? "",
                name: resource?["name"]?.string ?? "", path: other?["path"]?.string ?? "")
            answer["status"] = ["allowed": .bool(allows(question))]
            return answer
        default: return nil
        }
    }
}

extension APIServer {
    public func setAccess(_ change: (inout AccessRules) -> Void) { state.withLock { change(&$0.access) } }
}
