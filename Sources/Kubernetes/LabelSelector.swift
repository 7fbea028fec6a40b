/// Selects objects by their labels: all requirements must hold, and an empty selector selects everything.
public struct LabelSelector: Codable, Sendable, Equatable, Hashable {
    public struct Requirement: Codable, Sendable, Equatable, Hashable {
        public var key: String
        /// In, NotIn, Exists or DoesNotExist.
        public var `operator`: String
        public var values: [String]?

        public init(key: String, operator: String, values: [String]? = nil) {
            self.key = key
            self.operator = `operator`
            self.values = values
        }
    }

    public var matchLabels: [String: String]?
    public var matchExpressions: [Requirement]?

    public init(matchLabels: [String: String]? = nil, matchExpressions: [Requirement]? = nil) {
        self.matchLabels = matchLabels
        self.matchExpressions = matchExpressions
    }

    /// An unknown operator selects nothing, as this decides who may read.
    public func matches(_ labels: [String: String]?) -> Bool {
        let labels = labels ?? [:]
        for (key, value) in matchLabels ?? [:] where labels[key] != value { return false }
        for requirement in matchExpressions ?? [] {
            let values = requirement.values ?? []
            let label = labels[requirement.key]
            switch requirement.operator {
            case "In": guard let label, values.contains(label) else { return false }
            case "NotIn": if let label, values.contains(label) { return false }
            case "Exists": guard label != nil else { return false }
            case "DoesNotExist": guard label == nil else { return false }
            default: return false
            }
        }
        return true
    }
}
