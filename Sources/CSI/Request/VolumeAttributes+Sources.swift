import NodeProtocol

// Attributes of other sources than a live bucket.
extension VolumeAttributes {
    /// Files of a web server: `url`, an index (ends in "/") or a list, or `urls`, the lines of a list.
    mutating func takeWeb(_ context: [String: String]) throws(Refusal) {
        let url = try Self.url(context["url"] ?? "", "url")
        let urls = (context["urls"] ?? "").split(whereSeparator: \.isNewline).map(String.init)
        for line in urls {
            guard Checks.isPrintable(line) else { throw .invalid("volume attribute \"urls\" has control characters") }
            _ = try Self.url(String(line.prefix { $0 != " " }), "urls")
        }
        guard url != nil || !urls.isEmpty else { return }
        if url != nil, !urls.isEmpty { throw .invalid("volume attributes \"url\" and \"urls\" exclude each other") }
        for name in ["bucket", "endpoint", "prefix", "roleARN", "manifest"] {
            guard context[name]?.isEmpty ?? true else {
                throw .invalid(
                    "volume attributes \"\(name)\" and \"\(url == nil ? "urls" : "url")\" exclude each other")
            }
        }
        view.web = SessionSpec.Web(url: url, urls: urls)
        // Names the source in the mount table and in caches.
        view.bucket = url ?? "\(urls.count) URLs \(digest(of: Array(urls.joined(separator: "\n").utf8)))"
    }

    /// Instead of an ID: "manifest" is of the object that says which revision is the newest.
    static let newestRevision = "newest"

    /// A revision: its manifest is an object, `s3://bucket/key`.
    mutating func takeRevision(_ context: [String: String]) throws(Refusal) {
        guard let text = context["manifest"], !text.isEmpty else { return }
        let rest = text.dropFirst(5)
        guard text.hasPrefix("s3://"), let slash = rest.firstIndex(of: "/"), rest.index(after: slash) < rest.endIndex
        else {
            throw .invalid("volume attribute \"manifest\" is s3://bucket/key, not \(Checks.quoted(text))")
        }
        guard !revisionID.isEmpty else {
            throw .invalid("volume attribute \"millrace.dev/revision\" is missing; it names what \"manifest\" is of")
        }
        var revision = SessionSpec.Revision(
            id: revisionID, bucket: try Self.bucket(String(rest[..<slash])),
            key: String(rest[rest.index(after: slash)...]))
        revision.endpoint = try Self.url(context["manifestEndpoint"] ?? "", "manifestEndpoint")
        revision.region = context["manifestRegion"]
        if let style = context["manifestPathStyle"] { revision.pathStyle = try Self.flag(style, "manifestPathStyle") }
        revision.isDatasetAnonymous = isAnonymous
        if revisionID == Self.newestRevision { revision.pointer = revision.key }
        view.revision = revision
        // A snapshot never changes.
        view.metadataTTLMs = .max
    }
}
