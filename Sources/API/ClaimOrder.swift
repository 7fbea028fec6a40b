import Controller
import Kubernetes

/// A claim that somebody asks for: of a Dataset that is there, of a place in an object store, or a clone of a claim. A
/// claim of one of our classes shows that place as it is; one of any other class gets a copy of it.
struct ClaimOrder: Sendable {
    var key: ObjectKey
    /// Nil: that of the claim that is cloned.
    var storageClass: String?
    var place: Place?
    /// A Secret of the namespace with the place's keys, where they don't come with the request.
    var secretName: String?
    /// `namespace/name`, or a name in the claim's own namespace.
    var dataset: String?
    /// A claim of the namespace, whose content it begins with.
    var clone: String?
    var subPath: String?
    /// Nil: what fits the class.
    var accessModes: [String]?
    /// What to ask for, as a quantity; nil: what the objects need.
    var capacity: String?

    /// PVCi's body for /create.
    init(compat body: JSON) throws(Problem) {
        let fields = try Fields(body)
        key = try Self.key(compat: fields)
        storageClass = try fields.required("storage_class", most: 253)
        place = try Place(compat: fields)
    }

    /// The two fields that all of PVCi's other bodies have.
    static func key(compat body: JSON) throws(Problem) -> ObjectKey { try key(compat: Fields(body)) }

    private static func key(compat fields: Fields) throws(Problem) -> ObjectKey {
        ObjectKey(namespace: try fields.objectName("namespace"), name: try fields.objectName("name"))
    }

    /// The body of /v1/namespaces/{namespace}/claims.
    init(namespace: String, body: JSON) throws(Problem) {
        let fields = try Fields(body)
        try fields.allow(
            "name", "storageClassName", "source", "credentials", "secretRef", "dataset", "clone", "subPath",
            "accessModes", "capacity")
        key = ObjectKey(namespace: namespace, name: try fields.objectName("name"))
        clone = fields.has("clone") ? try fields.objectName("clone") : nil
        storageClass =
            clone == nil
            ? try fields.required("storageClassName", most: 253) : try fields.text("storageClassName", most: 253)
        dataset = try fields.text("dataset", most: 507)
        if let dataset, ObjectKey(reference: dataset, defaultNamespace: namespace) == nil {
            throw .badField("dataset must be namespace/name or a name")
        }
        secretName = try fields.object("secretRef")?.objectName("name")
        place = try Place(fields, hasSecret: secretName != nil)
        subPath = try fields.text("subPath", most: 512)
        if let subPath, let problem = subPathProblem(subPath) { throw .badField("subPath: \(problem)") }
        capacity = try fields.text("capacity", most: 32)
        if let modes = fields.json("accessModes") {
            let known = ["ReadOnlyMany", "ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"]
            let names = modes.array?.compactMap(\.string) ?? []
            guard !names.isEmpty, names.count == modes.array?.count, names.allSatisfy(known.contains) else {
                throw .badField("accessModes must be a list of \(known.joined(separator: ", "))")
            }
            accessModes = names
        }
        guard [dataset != nil, place != nil, clone != nil].filter({ $0 }).count == 1 else {
            throw .badField("exactly one of dataset, source and clone must say what to claim")
        }
        guard place != nil || secretName == nil else { throw .badField("secretRef goes with source alone") }
        guard clone == nil || subPath == nil else { throw .badField("a clone is whole: subPath isn't possible") }
    }
}

extension Place {
    /// PVCi's fields: an endpoint without a scheme, and keys in the request.
    init(compat fields: Fields) throws(Problem) {
        let endpoint = try fields.required("s3_endpoint")
        let isSecure = try fields.bool("s3_ssl") ?? false
        source = Dataset.S3Source(bucket: try fields.required("s3_bucket", most: 255))
        source.endpoint = endpoint.contains("://") ? endpoint : "\(isSecure ? "https" : "http")://\(endpoint)"
        source.prefix = try fields.text("s3_prefix").flatMap { $0.isEmpty ? nil : $0 }
        source.pathStyle = true
        let id = try fields.text("s3_key", most: 4096) ?? ""
        let secret = try fields.text("s3_secret", most: 4096) ?? ""
        guard id.isEmpty == secret.isEmpty else { throw .badField("s3_key and s3_secret belong together") }
        if id.isEmpty {
            source.anonymous = true
        } else {
            keys = SourceCredentials(accessKeyID: id, secretAccessKey: secret)
        }
    }

    /// `source.s3` and `credentials` of a body under /v1; nil: it has no source.
    init?(_ fields: Fields, hasSecret: Bool) throws(Problem) {
        guard let holder = try fields.object("source") else {
            if fields.has("credentials") { throw .badField("credentials go with source") }
            return nil
        }
        try holder.allow("s3")
        guard let s3 = try holder.object("s3") else { throw .badField("source.s3 is missing") }
        try s3.allow(
            "bucket", "prefix", "endpoint", "region", "pathStyle", "anonymous", "requesterPays", "caBundle")
        source = Dataset.S3Source(bucket: try s3.required("bucket", most: 255))
        source.prefix = try s3.text("prefix").flatMap { $0.isEmpty ? nil : $0 }
        source.endpoint = try s3.text("endpoint")
        source.region = try s3.text("region", most: 64)
        source.pathStyle = try s3.bool("pathStyle")
        source.anonymous = try s3.bool("anonymous")
        source.requesterPays = try s3.bool("requesterPays")
        source.caBundle = try s3.lines("caBundle", most: 64 << 10)
        if let credentials = try fields.object("credentials") {
            try credentials.allow("accessKeyID", "secretAccessKey", "sessionToken")
            keys = SourceCredentials(
                accessKeyID: try credentials.required("accessKeyID", most: 4096),
                secretAccessKey: try credentials.required("secretAccessKey", most: 4096),
                sessionToken: try credentials.text("sessionToken", most: 16_384))
        }
        let count = [keys != nil, hasSecret, source.anonymous == true].filter { $0 }.count
        guard count == 1 else {
            throw .badField("exactly one of credentials, secretRef and source.s3.anonymous: true must be given")
        }
    }
}
