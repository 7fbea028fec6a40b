public struct PersistentVolumeClaim: KubernetesObject {
    public static let resource = Resource(
        group: "", version: "v1", plural: "persistentvolumeclaims", kind: "PersistentVolumeClaim", isNamespaced: true)

    public struct Spec: Codable, Sendable {
        public var accessModes: [String]?
        public var resources: Resources?
        public var storageClassName: String?
        public var volumeName: String?
        public var volumeMode: String?
        public var volumeAttributesClassName: String?
        public var selector: LabelSelector?
        public var dataSource: TypedReference?
        public var dataSourceRef: TypedReference?
        public init() {}
    }
    public struct Resources: Codable, Sendable {
        public var requests: [String: String]?
        public init(requests: [String: String]) { self.requests = requests }
    }
    public struct Status: Codable, Sendable {
        /// Pending, Bound or Lost.
        public var phase: String?
        public var accessModes: [String]?
        public var capacity: [String: String]?
    }

    public var metadata: ObjectMeta
    public var spec: Spec
    public var status: Status?

    public init(metadata: ObjectMeta, spec: Spec) {
        self.metadata = metadata
        self.spec = spec
    }
}

/// Names an object of a group and kind.
public struct TypedReference: Codable, Sendable, Equatable, Hashable {
    /// Nil: the core group.
    public var apiGroup: String?
    public var kind: String
    public var name: String
    /// Nil: the namespace of who refers to it.
    public var namespace: String?
    public init(apiGroup: String? = nil, kind: String, name: String) {
        self.apiGroup = apiGroup
        self.kind = kind
        self.name = name
    }
}

public struct PersistentVolume: KubernetesObject {
    public static let resource = Resource(
        group: "", version: "v1", plural: "persistentvolumes", kind: "PersistentVolume", isNamespaced: false)

    public struct Spec: Codable, Sendable {
        public var capacity: [String: String]?
        public var accessModes: [String]?
        public var persistentVolumeReclaimPolicy: String?
        public var storageClassName: String?
        public var volumeMode: String?
        public var mountOptions: [String]?
        public var claimRef: ObjectReference?
        public var csi: CSISource?
        public var nfs: NFSVolumeSource?
        public init() {}
    }
    public struct NFSVolumeSource: Codable, Sendable {
        public var server: String
        public var path: String
        public var readOnly: Bool?
        public init(server: String, path: String, readOnly: Bool) {
            self.server = server
            self.path = path
            self.readOnly = readOnly
        }
    }
    public struct CSISource: Codable, Sendable {
        public var driver: String
        public var volumeHandle: String
        public var readOnly: Bool?
        public var volumeAttributes: [String: String]?
        public var nodePublishSecretRef: SecretReference?
        public init(driver: String, volumeHandle: String) {
            self.driver = driver
            self.volumeHandle = volumeHandle
        }
    }
    public struct Status: Codable, Sendable {
        /// Pending, Available, Bound, Released or Failed.
        public var phase: String?
    }

    public var metadata: ObjectMeta
    public var spec: Spec
    public var status: Status?

    public init(metadata: ObjectMeta, spec: Spec) {
        self.metadata = metadata
        self.spec = spec
    }
}

public struct SecretReference: Codable, Sendable, Equatable, Hashable {
    public var name: String
    public var namespace: String
    public init(name: String, namespace: String) {
        self.name = name
        self.namespace = namespace
    }
}

public struct StorageClass: KubernetesObject {
    public static let resource = Resource(
        group: "storage.k8s.io", version: "v1", plural: "storageclasses", kind: "StorageClass", isNamespaced: false)

    public var metadata: ObjectMeta
    public var provisioner: String
    public var parameters: [String: String]?
    public var reclaimPolicy: String?
    /// Immediate or WaitForFirstConsumer.
    public var volumeBindingMode: String?
    public var mountOptions: [String]?

    public init(metadata: ObjectMeta, provisioner: String, parameters: [String: String]? = nil) {
        self.metadata = metadata
        self.provisioner = provisioner
        self.parameters = parameters
    }
}
