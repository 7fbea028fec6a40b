import Kubernetes

/// A Job, with what its template says passed on as it is.
public struct Job: KubernetesObject {
    public static let resource = Resource(
        group: "batch", version: "v1", plural: "jobs", kind: "Job", isNamespaced: true)

    public struct Status: Codable, Sendable, Equatable {
        public var active: Int?
        public var failed: Int?
        public var succeeded: Int?
        public var conditions: [JobCondition]?
    }
    /// A Job's conditions needn't have a reason.
    public struct JobCondition: Codable, Sendable, Equatable {
        public var type: String
        public var status: String
        public var reason: String?
        public var message: String?
    }

    public var metadata: ObjectMeta
    public var spec: JSON?
    public var status: Status?

    public init(metadata: ObjectMeta, spec: JSON) {
        self.metadata = metadata
        self.spec = spec
    }

    private func condition(_ type: String) -> JobCondition? {
        status?.conditions?.first { $0.type == type && $0.status == "True" }
    }
    public var hasSucceeded: Bool { condition("Complete") != nil }
    public var failure: JobCondition? { condition("Failed") }
    public var isOver: Bool { hasSucceeded || failure != nil }
}
