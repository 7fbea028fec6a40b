/// A pod, with what is looked at here.
public struct Pod: KubernetesObject {
    public static let resource = Resource(group: "", version: "v1", plural: "pods", kind: "Pod", isNamespaced: true)

    public struct Spec: Codable, Sendable { public var volumes: [Volume]? }
    public struct Volume: Codable, Sendable { public var persistentVolumeClaim: ClaimSource? }
    public struct ClaimSource: Codable, Sendable { public var claimName: String }

    public struct Status: Codable, Sendable, Equatable {
        /// Pending, Running, Succeeded, Failed or Unknown.
        public var phase: String?
        public var podIP: String?
        public var reason: String?
        public var message: String?
        public var containerStatuses: [Container]?

        /// The first container's, as our own pods have but one.
        public var container: Container? { containerStatuses?.first }

        /// What its container said last, or why it never began.
        public var lastWords: String? {
            container?.state?.terminated?.message ?? container?.lastState?.terminated?.message
                ?? container?.state?.waiting.map { waiting in
                    "the pod waits: \(waiting.reason ?? "")\(waiting.message.map { ": \($0)" } ?? "")"
                } ?? message ?? reason
        }
    }
    public struct Container: Codable, Sendable, Equatable {
        public var restartCount: Int?
        public var state: State?
        /// How it ended before its last restart.
        public var lastState: State?
    }
    /// One of them is there.
    public struct State: Codable, Sendable, Equatable {
        public var waiting: Waiting?
        public var terminated: Terminated?
    }
    public struct Waiting: Codable, Sendable, Equatable {
        public var reason: String?
        public var message: String?
    }
    public struct Terminated: Codable, Sendable, Equatable {
        public var exitCode: Int?
        public var reason: String?
        public var message: String?
    }

    public var metadata: ObjectMeta
    public var spec: Spec?
    public var status: Status?

    public func mounts(claim: String) -> Bool {
        spec?.volumes?.contains { $0.persistentVolumeClaim?.claimName == claim } ?? false
    }
}
