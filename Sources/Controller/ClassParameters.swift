import Kubernetes

/// What is wrong with something that a person wrote, for an Event or an error: which field, why, and the fix.
public struct Refusal: Error, Equatable, Sendable {
    /// One word for machines.
    public var reason: String
    public var message: String
    public static let notAllowed = "NotAllowed"
    public init(_ reason: String, _ message: String) {
        self.reason = reason
        self.message = message
    }
}

/// A StorageClass's parameters, or those of a CSI CreateVolume, understood. An unknown one is refused and named.
public struct ClassParameters: Sendable, Equatable {
    public enum Source: Sendable, Equatable {
        case dataset(ObjectKey)
        case s3(Dataset.S3Source)
        /// The claim's annotation says which Dataset.
        case annotation
    }

    public var source: Source
    public var subPath: String?
    public var secret: SecretReference?
    public var mount = Dataset.Mount()
    /// Whether claims may choose a sub-path by annotation.
    public var allowsSubPath = false
    /// Whether ReadWriteOnce and ReadWriteMany claims are taken, and mounted read-only all the same.
    public var acceptsWritable = true
    /// For plain S3 parameters: the namespaces that may use the class; nil: all.
    public var namespaces: Set<String>?

    public static let known: Set<String> = [
        "dataset", "datasetAnnotation", "subPath", "subPathAnnotation", "writableClaims", "allowedNamespaces", "bucket",
        "prefix", "endpoint", "region", "pathStyle", "anonymous", "requesterPays", "caBundle", "roleARN", "stsEndpoint",
        "metadataTTL", "readAhead", "uid", "gid", "fileMode", "dirMode", "secretName", "secretNamespace",
        secretNameKey, secretNamespaceKey,
    ]
    static let secretNameKey = "csi.storage.k8s.io/node-publish-secret-name"
    static let secretNamespaceKey = "csi.storage.k8s.io/node-publish-secret-namespace"

    public init(_ parameters: [String: String], of owner: String) throws(Refusal) {
        func wrong(_ text: String) -> Refusal { Refusal("BadParameters", "\(owner): \(text)") }
        // external-provisioner adds what the claim is called; it says nothing about what to show.
        let claimKeys: Set<String> = [
            "csi.storage.k8s.io/pvc/name", "csi.storage.k8s.io/pvc/namespace", "csi.storage.k8s.io/pv/name",
        ]
        for (key, value) in parameters.sorted(by: { $0.key < $1.key }) where !claimKeys.contains(key) {
            guard Self.known.contains(key) else {
                throw wrong("parameter \(key) isn't known; known are \(Self.known.sorted().joined(separator: ", "))")
            }
            guard !value.contains("${") else {
                throw wrong("parameter \(key): templates (${…}) aren't supported, as a claim could fill them")
            }
        }
        func bool(_ key: String) throws(Refusal) -> Bool? {
            switch parameters[key] {
            case nil: return nil
            case "true": return true
            case "false": return false
            case let value?: throw wrong("parameter \(key) is \"\(value)\"; it must be true or false")
            }
        }
        func number(_ key: String) throws(Refusal) -> Int? {
            guard let text = parameters[key] else { return nil }
            guard let value = Int(text), (0...Int(UInt32.max)).contains(value) else {
                throw wrong("parameter \(key) is \"\(text)\"; it must be a number from 0 to \(UInt32.max)")
            }
            return value
        }

        var sources: [Source] = []
        if let text = parameters["dataset"] {
            guard let key = ObjectKey(reference: text, defaultNamespace: nil) else {
                throw wrong("parameter dataset is \"\(text)\"; it must be namespace/name")
            }
            sources.append(.dataset(key))
        }
        if try bool("datasetAnnotation") == true { sources.append(.annotation) }
        if let bucket = parameters["bucket"] {
            var s3 = Dataset.S3Source(bucket: bucket)
            s3.prefix = parameters["prefix"]
            s3.endpoint = parameters["endpoint"]
            s3.region = parameters["region"]
            s3.pathStyle = try bool("pathStyle")
            s3.anonymous = try bool("anonymous")
            s3.requesterPays = try bool("requesterPays")
            s3.caBundle = parameters["caBundle"]
            s3.roleARN = parameters["roleARN"]
            s3.stsEndpoint = parameters["stsEndpoint"]
            if let problem = s3.problem { throw wrong("parameter \(problem)") }
            sources.append(.s3(s3))
        }
        guard let first = sources.first else {
            throw wrong("one of the parameters dataset, datasetAnnotation or bucket must say what to mount")
        }
        guard sources.count == 1 else {
            throw wrong("only one of the parameters dataset, datasetAnnotation and bucket may be set")
        }
        source = first
        if let path = parameters["subPath"] {
            if let problem = subPathProblem(path) { throw wrong("parameter subPath is \"\(path)\": \(problem)") }
            subPath = path
        }
        allowsSubPath = try bool("subPathAnnotation") ?? false
        switch parameters["writableClaims"] {
        case nil, "readOnly": acceptsWritable = true
        case "refuse": acceptsWritable = false
        case let value?: throw wrong("parameter writableClaims is \"\(value)\"; it must be readOnly or refuse")
        }
        if let list = parameters["allowedNamespaces"], list != "*" {
            namespaces = Set(list.split(separator: ",").map { $0.filter { $0 != " " } })
        }
        mount.metadataTTL = parameters["metadataTTL"]
        mount.readAhead = parameters["readAhead"]
        mount.uid = try number("uid")
        mount.gid = try number("gid")
        mount.fileMode = parameters["fileMode"]
        mount.dirMode = parameters["dirMode"]
        let name = parameters["secretName"] ?? parameters[Self.secretNameKey]
        let namespace = parameters["secretNamespace"] ?? parameters[Self.secretNamespaceKey]
        if let name, let namespace {
            secret = SecretReference(name: name, namespace: namespace)
        } else if name != nil || namespace != nil {
            throw wrong("secretName and secretNamespace must be set both")
        }
        if secret != nil, case .s3 = source {
        } else if secret != nil {
            throw wrong("secretName can't be set for a Dataset: its own secretRef is used")
        }
    }
}

extension ObjectKey {
    /// `namespace/name`, or a name alone where there is a default namespace.
    public init?(reference: String, defaultNamespace: String?) {
        let parts = reference.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        func isName(_ text: String) -> Bool {
            !text.isEmpty && text.utf8.count <= 253
                && text.utf8.allSatisfy {
                    (0x61...0x7a).contains($0) || (0x30...0x39).contains($0) || $0 == 0x2d || $0 == 0x2e
                }
        }
        guard parts.allSatisfy(isName) else { return nil }
        if parts.count == 2 {
            self.init(namespace: parts[0], name: parts[1])
        } else if parts.count == 1, let defaultNamespace {
            self.init(namespace: defaultNamespace, name: parts[0])
        } else {
            return nil
        }
    }
}
