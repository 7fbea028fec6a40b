import Kubernetes

/// What a volume shows: a prefix of a bucket, how it is reached and with whose Secret.
public struct DatasetView: Sendable, Equatable {
    public var source: Dataset.S3Source
    public var subPath: String?
    public var secret: SecretReference?
    public var mount: Dataset.Mount?
    public var revision: String?
    /// The Dataset that it comes from; nil for a class with plain S3 parameters.
    public var dataset: ObjectKey?
    public var datasetUID: String?

    public init(source: Dataset.S3Source) { self.source = source }

    public init(_ dataset: Dataset, source: Dataset.S3Source, subPath: String?) {
        self.source = source
        self.subPath = subPath
        secret = dataset.spec.secretRef.map {
            SecretReference(name: $0.name, namespace: dataset.metadata.namespace ?? "")
        }
        mount = dataset.spec.mount
        revision = dataset.spec.revision?.policy
        self.dataset = dataset.key
        datasetUID = dataset.metadata.uid
    }

    /// The prefix with the sub-path, "" or with a slash at its end.
    public var prefix: String {
        var prefix = source.prefix ?? ""
        if !prefix.isEmpty && !prefix.hasSuffix("/") { prefix += "/" }
        guard var path = subPath, !path.isEmpty else { return prefix }
        if !path.hasSuffix("/") { path += "/" }
        return prefix + path
    }

    /// The volume's attributes as the node plugin knows them.
    public func attributes(forNamespace namespace: String) -> [String: String] {
        var attributes = ["bucket": source.bucket, "prefix": prefix, Names.allowedNamespaces: namespace]
        attributes["endpoint"] = source.endpoint
        attributes["region"] = source.region
        attributes["pathStyle"] = source.pathStyle.map(String.init)
        attributes["anonymous"] = source.anonymous.map(String.init)
        attributes["requesterPays"] = source.requesterPays.map(String.init)
        attributes["caBundle"] = source.caBundle
        attributes["roleARN"] = source.roleARN
        attributes["stsEndpoint"] = source.stsEndpoint
        // Datasets change seldom: a minute, where a mount by hand trusts for a second.
        attributes["metadataTTL"] = mount?.metadataTTL ?? "60"
        attributes["readAhead"] = mount?.readAhead
        attributes["uid"] = mount?.uid.map(String.init)
        attributes["gid"] = mount?.gid.map(String.init)
        attributes["fileMode"] = mount?.fileMode
        attributes["dirMode"] = mount?.dirMode
        attributes[Names.dataset] = dataset?.description
        attributes[Names.revision] = revision
        return attributes.filter { !$0.value.isEmpty || $0.key == "prefix" }
    }

    /// The same for equal views. The digest is kept on volumes: how it is made must not change between versions, or an
    /// upgrade would make all volumes anew.
    public var digest: String {
        var text = "view-1\n"
        for (key, value) in attributes(forNamespace: "").sorted(by: { $0.key < $1.key }) { text += "\(key)=\(value)\n" }
        text += "secret=\(secret.map { "\($0.namespace)/\($0.name)" } ?? "")\n"
        return String(SHA256.hex(text).prefix(16))
    }
}

/// Why a sub-path can't be used, or nil.
public func subPathProblem(_ path: String) -> String? {
    if path.isEmpty { return "it is empty" }
    if path.utf8.count > 512 { return "it is longer than 512 bytes" }
    if path.hasPrefix("/") { return "it must not begin with a slash" }
    if path.utf8.contains(where: { $0 < 0x20 || $0 == 0x7f }) { return "it contains a control character" }
    var parts = path.split(separator: "/", omittingEmptySubsequences: false)
    if parts.last == "" { parts.removeLast() }
    if parts.contains("..") || parts.contains(".") { return "'.' and '..' aren't allowed in it" }
    if parts.contains("") { return "it contains '//'" }
    return nil
}
