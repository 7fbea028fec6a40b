/// A Node; not called that, as Yams has a Node too.
public struct ClusterNode: KubernetesObject {
    public static let resource = Resource(group: "", version: "v1", plural: "nodes", kind: "Node", isNamespaced: false)
    public struct Spec: Codable, Sendable, Equatable {
        public var taints: [Taint]?
        /// Cordoned.
        public var unschedulable: Bool?
    }
    public struct Taint: Codable, Sendable, Equatable {
        public var key: String
        public var value: String?
        /// NoSchedule, PreferNoSchedule or NoExecute.
        public var effect: String
        public var timeAdded: String?
    }
    public struct Status: Codable, Sendable, Equatable {
        public var conditions: [NodeCondition]?
        public var nodeInfo: Info?
    }
    public struct NodeCondition: Codable, Sendable, Equatable {
        public var type: String
        public var status: String
        public var lastTransitionTime: String?
    }
    public struct Info: Codable, Sendable, Equatable { public var bootID: String? }

    public var metadata: ObjectMeta
    public var spec: Spec?
    public var status: Status?
}

/// What the kubelet says about the CSI drivers that have registered on a node; it has the Node's name.
public struct CSINode: KubernetesObject {
    public static let resource = Resource(
        group: "storage.k8s.io", version: "v1", plural: "csinodes", kind: "CSINode", isNamespaced: false)
    public struct Spec: Codable, Sendable { public var drivers: [Driver]? }
    public struct Driver: Codable, Sendable { public var name: String }

    public var metadata: ObjectMeta
    public var spec: Spec?
}
