/// Which nodes a pod may go to, or should.
public struct NodeAffinity: Codable, Sendable, Equatable {
    public struct Selector: Codable, Sendable, Equatable {
        /// One of them must match.
        public var nodeSelectorTerms: [Term]
        public init(nodeSelectorTerms: [Term]) { self.nodeSelectorTerms = nodeSelectorTerms }
    }
    /// All of its expressions must match; one without any matches no node.
    public struct Term: Codable, Sendable, Equatable {
        public var matchExpressions: [Requirement]?
        public var matchFields: [Requirement]?
        public init(matchExpressions: [Requirement]? = nil, matchFields: [Requirement]? = nil) {
            self.matchExpressions = matchExpressions
            self.matchFields = matchFields
        }
    }
    public struct Requirement: Codable, Sendable, Equatable {
        public var key: String
        /// In, NotIn, Exists, DoesNotExist, Gt or Lt.
        public var `operator`: String
        public var values: [String]?
        public init(key: String, operator: String, values: [String]? = nil) {
            self.key = key
            self.operator = `operator`
            self.values = values
        }
    }
    public struct Preference: Codable, Sendable, Equatable {
        /// 1 to 100.
        public var weight: Int
        public var preference: Term
    }

    public var requiredDuringSchedulingIgnoredDuringExecution: Selector?
    public var preferredDuringSchedulingIgnoredDuringExecution: [Preference]?

    public init(required: [Term]? = nil) {
        requiredDuringSchedulingIgnoredDuringExecution = required.map { Selector(nodeSelectorTerms: $0) }
    }
}

public struct Toleration: Codable, Sendable, Equatable {
    public var key: String?
    /// Exists or Equal.
    public var `operator`: String?
    public var value: String?
    /// Nil: all effects.
    public var effect: String?
    public var tolerationSeconds: Int?

    public init(key: String? = nil, operator: String? = nil, value: String? = nil, effect: String? = nil) {
        self.key = key
        self.operator = `operator`
        self.value = value
        self.effect = effect
    }

    public func tolerates(_ taint: ClusterNode.Taint) -> Bool {
        if let effect, !effect.isEmpty, effect != taint.effect { return false }
        guard let key, !key.isEmpty else { return `operator` == "Exists" }
        guard key == taint.key else { return false }
        return `operator` == "Exists" || (value ?? "") == (taint.value ?? "")
    }
}

extension NodeAffinity {
    /// Whether a pod with it may go to the node.
    public func allows(_ node: ClusterNode) -> Bool {
        guard let required = requiredDuringSchedulingIgnoredDuringExecution else { return true }
        return required.nodeSelectorTerms.contains { $0.matches(node) }
    }

    /// The sum of the weights of the preferences that the node meets.
    public func score(_ node: ClusterNode) -> Int {
        (preferredDuringSchedulingIgnoredDuringExecution ?? []).reduce(0) {
            $0 + ($1.preference.matches(node) ? $1.weight : 0)
        }
    }
}

extension NodeAffinity.Term {
    func matches(_ node: ClusterNode) -> Bool {
        let labels = matchExpressions ?? []
        let fields = matchFields ?? []
        guard !labels.isEmpty || !fields.isEmpty else { return false }
        return labels.allSatisfy { $0.matches(node.metadata.labels?[$0.key]) }
            && fields.allSatisfy { $0.matches($0.key == "metadata.name" ? node.metadata.name : nil) }
    }
}

extension NodeAffinity.Requirement {
    /// An operator that isn't known matches nothing.
    func matches(_ value: String?) -> Bool {
        let values = values ?? []
        switch `operator` {
        case "In": return value.map(values.contains) ?? false
        case "NotIn": return value.map { !values.contains($0) } ?? true
        case "Exists": return value != nil
        case "DoesNotExist": return value == nil
        case "Gt", "Lt":
            guard let number = value.flatMap({ Int($0) }), let limit = values.first.flatMap({ Int($0) }) else {
                return false
            }
            return `operator` == "Gt" ? number > limit : number < limit
        default: return false
        }
    }
}

extension ClusterNode {
    public var isReady: Bool { readiness?.status == "True" }
    /// The Ready condition, if the kubelet ever said something.
    public var readiness: NodeCondition? { status?.conditions?.first { $0.type == "Ready" } }

    /// Whether a pod that tolerates these may be put there.
    public func accepts(_ tolerations: [Toleration]) -> Bool {
        var taints = spec?.taints ?? []
        if spec?.unschedulable == true {
            taints.append(Taint(key: "node.kubernetes.io/unschedulable", effect: "NoSchedule"))
        }
        return taints.filter { $0.effect != "PreferNoSchedule" }.allSatisfy { taint in
            tolerations.contains { $0.tolerates(taint) }
        }
    }
}
