import NodeProtocol

/// A volume's attributes (CSI's volume_context): what the volume says of the dataset and Kubernetes of the pod.
///
/// The names are an allow-list: one that isn't known is refused by name, as a typo that is ignored shows wrong data.
struct VolumeAttributes: Equatable {
    var view: SessionSpec
    var isAnonymous = false
    /// Of the snapshot that "manifest" is of; "Live" or "Pinned" in volumes of earlier versions, which have none.
    var revisionID = ""
    var roleARN: String?
    /// Namespaces that may use the volume; nil: every one.
    var allowedNamespaces: Set<String>?
    var podNamespace: String?
    var serviceAccount: String?
    /// JSON of {audience: {token, expirationTimestamp}}.
    var serviceAccountTokens: Secret?

    /// Datasets change seldom; whoever needs to see a new object within a second says so.
    static let defaultTTLMs = 60_000
    static let tokensKey = "csi.storage.k8s.io/serviceAccount.tokens"

    init(_ context: [String: String]) throws(Refusal) {
        view = SessionSpec(bucket: "", metadataTTLMs: Self.defaultTTLMs)
        for (name, value) in context.sorted(by: { $0.key < $1.key }) { try take(name, value) }
        try takeWeb(context)
        guard !view.bucket.isEmpty else { throw .invalid("volume attribute \"bucket\" is missing") }
        try takeRevision(context)
        if isAnonymous && roleARN != nil {
            throw .invalid("volume attributes \"anonymous\" and \"roleARN\" exclude each other")
        }
    }

    private mutating func take(_ name: String, _ value: String) throws(Refusal) {
        // Kubernetes adds to these from version to version.
        let isKubernetes = name.hasPrefix("csi.storage.k8s.io/") || name.hasPrefix("storage.kubernetes.io/")
        let isText = isKubernetes || name == "caBundle" || name == "urls"
        guard isText || Checks.isPrintable(value) else {
            throw .invalid("volume attribute \(Checks.quoted(name)) has control characters")
        }
        switch name {
        case "bucket": view.bucket = try Self.bucket(value)
        case "prefix": view.prefix = Self.prefix(value)
        case "endpoint": view.endpoint = try Self.url(value, name)
        case "stsEndpoint": view.stsEndpoint = try Self.url(value, name)
        case "region": view.region = value.isEmpty ? nil : value
        case "pathStyle": view.pathStyle = try Self.flag(value, name)
        case "requesterPays": view.requesterPays = try Self.flag(value, name)
        case "anonymous": isAnonymous = try Self.flag(value, name)
        case "immutable": if try Self.flag(value, name) { view.metadataTTLMs = .max }
        case "metadataTTL": view.metadataTTLMs = max(try Self.milliseconds(value, name), immutableFloor)
        case "readAhead": view.readAheadBytes = try Self.bytes(value, name)
        case "uid": view.uid = try Self.number(value, name, radix: 10, limit: .max - 1)
        case "gid": view.gid = try Self.number(value, name, radix: 10, limit: .max - 1)
        case "fileMode": view.fileMode = try Self.number(value, name, radix: 8, limit: 0o777)
        case "dirMode": view.directoryMode = try Self.number(value, name, radix: 8, limit: 0o777)
        case "caBundle":
            guard value.contains("-----BEGIN CERTIFICATE-----") else {
                throw .invalid("volume attribute \"caBundle\" holds no certificate in PEM")
            }
            view.caBundlePEM = value
        case "roleARN": roleARN = value.isEmpty ? nil : value
        case "millrace.dev/allowedNamespaces":
            let names = value.split(separator: ",").map { String($0.filter { $0 != " " }) }
            allowedNamespaces = names.contains("*") ? nil : Set(names)
        case "url", "urls": break
        case "millrace.dev/revision": revisionID = value
        case "manifest", "manifestEndpoint", "manifestRegion", "manifestPathStyle": break
        case "cachePriority": view.cachePriority = Int(try Self.number(value, name, radix: 10, limit: 1000))
        case "cachePinned": view.isCachePinned = try Self.flag(value, name)
        case "cacheQuota": view.cacheQuotaBytes = try Self.bytes(value, name, mostGi: 1 << 20)
        case "millrace.dev/dataset": view.dataset = value.isEmpty ? nil : value
        case "csi.storage.k8s.io/pod.namespace": podNamespace = value
        case "csi.storage.k8s.io/serviceAccount.name": serviceAccount = value
        case Self.tokensKey: serviceAccountTokens = Secret(value)
        case _ where isKubernetes: break
        default:
            throw .invalid("volume attribute \(Checks.quoted(name)) is not known; see docs/node.md for those that are")
        }
    }

    /// "immutable" sorts before "metadataTTL": a dataset that never changes needs no second look, whatever that says.
    private var immutableFloor: Int { view.metadataTTLMs == .max ? .max : 0 }

    /// Whether the bucket is read with keys of the volume's own.
    var needsKeys: Bool { !isAnonymous && roleARN == nil && view.web == nil }

    /// Throws where the pod's namespace was not granted the volume. Kubernetes alone says which namespace it is.
    func checkGrant() throws(Refusal) {
        guard let allowed = allowedNamespaces else { return }
        guard let namespace = podNamespace else {
            throw Refusal(
                .permissionDenied,
                "the volume is granted to some namespaces only, but the request names no pod; set podInfoOnMount")
        }
        guard allowed.contains(namespace) else {
            throw Refusal(.permissionDenied, "namespace \(Checks.quoted(namespace)) is not granted this volume")
        }
    }
}

// The values' types.
extension VolumeAttributes {
    private static func invalid(_ name: String, _ expected: String, _ value: String) -> Refusal {
        .invalid("volume attribute \"\(name)\" is \(expected), not \(Checks.quoted(value))")
    }

    /// The letters S3 servers have in use, the older ones' too.
    static func bucket(_ value: String) throws(Refusal) -> String {
        let isNamed = value.utf8.allSatisfy { byte in
            (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
                || [0x2d, 0x2e, 0x5f, 0x3a].contains(byte)
        }
        guard (1...255).contains(value.utf8.count), isNamed, value != ".", value != ".." else {
            throw invalid("bucket", "a bucket's name", value)
        }
        return value
    }

    /// "/a/b" and "a/b" both mean "a/b/".
    static func prefix(_ value: String) -> String {
        let trimmed = value.drop { $0 == "/" }
        return trimmed.isEmpty || trimmed.hasSuffix("/") ? String(trimmed) : trimmed + "/"
    }

    static func url(_ value: String, _ name: String) throws(Refusal) -> String? {
        if value.isEmpty { return nil }
        let schemes = ["http://", "https://"]
        guard let scheme = schemes.first(where: value.hasPrefix), value.count > scheme.count, !value.contains("@"),
            !value.contains(" ")
        else { throw invalid(name, "a URL with http or https and without a user", value) }
        return value
    }

    static func flag(_ value: String, _ name: String) throws(Refusal) -> Bool {
        switch value {
        case "true": true
        case "false", "": false
        default: throw invalid(name, "true or false", value)
        }
    }

    /// Seconds, a number with ms, s, m, h or d, or "immutable".
    static func milliseconds(_ value: String, _ name: String) throws(Refusal) -> Int {
        if value == "immutable" { return .max }
        let digits = value.prefix { $0.isASCII && $0.isNumber }
        let units = ["": 1_000, "ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000]
        guard let count = Int(digits), let unit = units[String(value.dropFirst(digits.count))], count <= 1_000_000_000
        else {
            throw invalid(name, "a time like 1s, 5m or immutable", value)
        }
        return count * unit
    }

    /// Bytes, or a number with Ki, Mi, Gi or Ti.
    static func bytes(_ value: String, _ name: String, mostGi: Int = 1) throws(Refusal) -> Int {
        let digits = value.prefix { $0.isASCII && $0.isNumber }
        let units = ["": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40]
        guard let count = Int(digits), let unit = units[String(value.dropFirst(digits.count))],
            !count.multipliedReportingOverflow(by: unit).overflow, count * unit <= mostGi << 30
        else { throw invalid(name, "a size of at most \(mostGi)Gi, like 4Mi", value) }
        return count * unit
    }

    static func number(_ value: String, _ name: String, radix: Int, limit: UInt32) throws(Refusal) -> UInt32 {
        guard value.first != "+", let number = UInt32(value, radix: radix), number <= limit else {
            throw invalid(name, radix == 8 ? "permission bits in octal, like 0444" : "a number", value)
        }
        return number
    }
}
