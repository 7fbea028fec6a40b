import Kubernetes

/// What a volume shows: a prefix of a bucket, how it is reached and with whose Secret.
public struct DatasetView: Sendable, Equatable {
    /// Exactly one.
    public var origin: Dataset.Source
    public var subPath: String?
    public var secret: SecretReference?
    public var mount: Dataset.Mount?
    /// Live or Pinned.
    public var policy: String?
    /// The snapshot that is shown, where the policy is Pinned.
    public var revision: Dataset.RevisionRecord?
    /// Each pod that starts is shown the newest one.
    public var rollsForward = false
    /// How nodes' caches treat it. Not part of the digest: nobody's volume is made anew for it.
    public var cache: Dataset.Cache?
    /// The Dataset that it comes from; nil for a class with plain S3 parameters.
    public var dataset: ObjectKey?
    public var datasetUID: String?

    public init(source: Dataset.S3Source) { origin = Dataset.Source(s3: source) }

    public init(_ dataset: Dataset, subPath: String?) {
        origin = dataset.spec.source
        self.subPath = subPath
        secret = dataset.spec.secretRef.map {
            SecretReference(name: $0.name, namespace: dataset.metadata.namespace ?? "")
        }
        // A public source needs no keys of its own; those of the revisions' store read the manifest.
        if secret == nil, dataset.isPinned, dataset.spec.source.s3?.roleARN == nil {
            secret = dataset.spec.revision?.store?.secretRef.map {
                SecretReference(name: $0.name, namespace: dataset.metadata.namespace ?? "")
            }
        }
        mount = dataset.spec.mount
        policy = dataset.spec.revision?.policy
        revision = dataset.isPinned ? dataset.mountableRevision : nil
        rollsForward = dataset.rollsForward
        cache = dataset.spec.cache
        self.dataset = dataset.key
        datasetUID = dataset.metadata.uid
    }

    /// The source in S3's terms; of one that speaks no S3, a bucket without a name.
    public var source: Dataset.S3Source { origin.kind?.asS3 ?? Dataset.S3Source(bucket: "") }

    /// The prefix with the sub-path, "" or with a slash at its end.
    public var prefix: String { Dataset.S3Source.directory(source.prefix, subPath) }

    /// Where that is, for people.
    var place: String {
        origin.nfs.map { "\($0.server):\($0.path(below: subPath))" } ?? "\(prefix) in bucket \(source.bucket)"
    }

    /// The volume's attributes as the node plugin knows them.
    public func attributes(forNamespace namespace: String) -> [String: String] {
        var attributes = lastingAttributes
        attributes[Names.allowedNamespaces] = namespace
        if let revision {
            // A volume's attributes never change: one that rolls forward names the pointer.
            attributes[Names.revision] = rollsForward ? Dataset.RevisionRecord.newest : revision.id
            attributes["manifest"] = rollsForward ? revision.pointer : revision.manifest
            attributes["manifestEndpoint"] = revision.endpoint
            attributes["manifestRegion"] = revision.region
            attributes["manifestPathStyle"] = revision.pathStyle.map(String.init)
        }
        return attributes.filter { !$0.value.isEmpty || $0.key == "prefix" }
    }

    /// Those that make a volume another one when they change: not which revision it shows, as volumes keep theirs.
    private var lastingAttributes: [String: String] {
        var attributes = origin.kind?.attributes(subPath: subPath) ?? [:]
        // Datasets change seldom: a minute, where a mount by hand trusts for a second.
        attributes["metadataTTL"] = mount?.metadataTTL ?? "60"
        attributes["readAhead"] = mount?.readAhead
        attributes["uid"] = mount?.uid.map(String.init)
        attributes["gid"] = mount?.gid.map(String.init)
        attributes["fileMode"] = mount?.fileMode
        attributes["dirMode"] = mount?.dirMode
        attributes["cachePriority"] = cache?.priority.map(String.init)
        attributes["cachePinned"] = cache?.pinned.map(String.init)
        attributes["cacheQuota"] = cache?.quota
        attributes[Names.dataset] = dataset?.description
        attributes[Names.revision] = policy
        return attributes
    }

    /// The same for equal views. The digest is kept on volumes: how it is made must not change between versions, or an
    /// upgrade would make all volumes anew.
    public var digest: String {
        var text = "view-1\n"
        let lasting = lastingAttributes.filter {
            (!$0.value.isEmpty || $0.key == "prefix") && !$0.key.hasPrefix("cache")
        }
        for (key, value) in lasting.sorted(by: { $0.key < $1.key }) { text += "\(key)=\(value)\n" }
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
