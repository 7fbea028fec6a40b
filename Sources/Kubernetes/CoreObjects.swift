public struct Namespace: KubernetesObject {
    public static let resource = Resource(
        group: "", version: "v1", plural: "namespaces", kind: "Namespace", isNamespaced: false)
    public struct Status: Codable, Sendable { public var phase: String? }

    public var metadata: ObjectMeta
    public var status: Status?

    public init(metadata: ObjectMeta) { self.metadata = metadata }
    public var isTerminating: Bool { metadata.isBeingDeleted || status?.phase == "Terminating" }
}

public struct Secret: KubernetesObject {
    public static let resource = Resource(
        group: "", version: "v1", plural: "secrets", kind: "Secret", isNamespaced: true)

    public var metadata: ObjectMeta
    public var type: String?
    /// Values in base64.
    public var data: [String: String]?
    public var stringData: [String: String]?

    public init(metadata: ObjectMeta) { self.metadata = metadata }
}

/// What happened to an object, for people (`kubectl describe`).
public struct Event: KubernetesObject {
    public static let resource = Resource(group: "", version: "v1", plural: "events", kind: "Event", isNamespaced: true)
    public struct Source: Codable, Sendable {
        public var component: String?
        public init(component: String) { self.component = component }
    }

    public var metadata: ObjectMeta
    public var involvedObject: ObjectReference
    public var reason: String?
    public var message: String?
    /// Normal or Warning.
    public var type: String?
    public var source: Source?
    public var firstTimestamp: String?
    public var lastTimestamp: String?
    public var count: Int?

    public init(metadata: ObjectMeta, involvedObject: ObjectReference) {
        self.metadata = metadata
        self.involvedObject = involvedObject
    }
}

public struct Lease: KubernetesObject {
    public static let resource = Resource(
        group: "coordination.k8s.io", version: "v1", plural: "leases", kind: "Lease", isNamespaced: true)
    public struct Spec: Codable, Sendable, Equatable {
        public var holderIdentity: String?
        public var leaseDurationSeconds: Int?
        public var acquireTime: String?
        public var renewTime: String?
        public var leaseTransitions: Int?
        public init() {}
    }

    public var metadata: ObjectMeta
    public var spec: Spec?

    public init(metadata: ObjectMeta, spec: Spec) {
        self.metadata = metadata
        self.spec = spec
    }
}

/// A condition of an object's status.
public struct Condition: Codable, Sendable, Equatable {
    public var type: String
    /// True, False or Unknown.
    public var status: String
    public var reason: String
    public var message: String
    public var lastTransitionTime: String?
    public var observedGeneration: Int?

    public init(type: String, status: String, reason: String, message: String) {
        self.type = type
        self.status = status
        self.reason = reason
        self.message = message
    }
}
