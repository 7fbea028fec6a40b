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

/// What of an import's pods is looked at.
struct ImportPod: KubernetesObject {
    static let resource = Resource(group: "", version: "v1", plural: "pods", kind: "Pod", isNamespaced: true)

    struct Status: Codable, Sendable, Equatable {
        struct Container: Codable, Sendable, Equatable {
            struct State: Codable, Sendable, Equatable {
                var running: JSON?
                var waiting: Ended?
                var terminated: Ended?
            }
            struct Ended: Codable, Sendable, Equatable {
                var exitCode: Int?
                var reason: String?
                var message: String?
            }
            var restartCount: Int?
            var state: State?
        }
        var phase: String?
        var podIP: String?
        var reason: String?
        var message: String?
        var containerStatuses: [Container]?
    }

    var metadata: ObjectMeta
    var status: Status?

    var container: Status.Container? { status?.containerStatuses?.first }
    /// What its container said last, or why it never began.
    var lastWords: String? {
        container?.state?.terminated?.message ?? container?.state?.waiting.map { waiting in
            "the pod waits: \(waiting.reason ?? "")\(waiting.message.map { ": \($0)" } ?? "")"
        } ?? status?.message ?? status?.reason
    }
}
