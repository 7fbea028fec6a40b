/// What one session shows: a dataset view. Two volumes with equal specs may share a session. Holds no secret.
public struct SessionSpec: Equatable, Hashable, Sendable {
    public var endpoint: String?
    public var region: String?
    public var bucket: String
    /// "" or ends in "/".
    public var prefix: String
    /// Nil: as the endpoint needs it.
    public var pathStyle: Bool?
    public var requesterPays: Bool
    /// How long a listing is trusted; `Int.max` for a dataset that never changes.
    public var metadataTTLMs: Int
    /// The kernel's read-ahead; nil for the default.
    public var readAheadBytes: Int?
    public var uid: UInt32
    public var gid: UInt32
    /// Permission bits.
    public var fileMode: UInt32
    public var directoryMode: UInt32
    /// Certificates that are trusted besides the system's.
    public var caBundlePEM: String?
    /// Exchanges `SessionCredentials.webIdentity` for keys.
    public var stsEndpoint: String?
    /// Shows a snapshot and not what is there now.
    public var revision: Revision?
    /// Files of a web server instead of a bucket's objects.
    public var web: Web?
    /// A digest of who the credentials belong to: nothing is shared, in memory or on disk, between scopes.
    public var scope: String
    /// `namespace/name` of the Dataset: whose the bytes are in the node's cache. Nil: the bucket and prefix say it.
    public var dataset: String?
    /// 0 to 1000, the lowest gives way first; nil for the default.
    public var cachePriority: Int?
    /// The bytes never give way while the dataset is used, and for some days after.
    public var isCachePinned = false
    /// The most that the dataset may take of the node's disk cache.
    public var cacheQuotaBytes: Int?

    public init(
        bucket: String, prefix: String = "", endpoint: String? = nil, region: String? = nil, pathStyle: Bool? = nil,
        requesterPays: Bool = false, metadataTTLMs: Int = 1_000, readAheadBytes: Int? = nil, uid: UInt32 = 0,
        gid: UInt32 = 0, fileMode: UInt32 = 0o444, directoryMode: UInt32 = 0o555, caBundlePEM: String? = nil,
        stsEndpoint: String? = nil, revision: Revision? = nil, web: Web? = nil, scope: String = ""
    ) {
        self.bucket = bucket
        self.prefix = prefix
        self.endpoint = endpoint
        self.region = region
        self.pathStyle = pathStyle
        self.requesterPays = requesterPays
        self.metadataTTLMs = metadataTTLMs
        self.readAheadBytes = readAheadBytes
        self.uid = uid
        self.gid = gid
        self.fileMode = fileMode
        self.directoryMode = directoryMode
        self.caBundlePEM = caBundlePEM
        self.stsEndpoint = stsEndpoint
        self.revision = revision
        self.web = web
        self.scope = scope
    }

    /// An immutable snapshot, by its manifest in an object store.
    public struct Revision: Equatable, Hashable, Sendable {
        public var id: String
        public var bucket: String
        public var key: String
        /// Nil: where the dataset itself is, as are the next two.
        public var endpoint: String?
        public var region: String?
        public var pathStyle: Bool?
        /// The session's credentials are for the manifest alone; the dataset is public.
        public var isDatasetAnonymous = false
        /// The key of the object that says which revision is the newest, for a volume that shows that to each pod that
        /// starts. `id` and `key` are of the revision that the session shows; before it is known, `key` is this one.
        public var pointer: String?

        public init(id: String, bucket: String, key: String) {
            self.id = id
            self.bucket = bucket
            self.key = key
        }
    }

    /// With the revision that a pointer led to.
    public mutating func show(revision id: String) {
        guard let pointer = revision?.pointer else { return }
        revision?.id = id
        let directory = pointer.lastIndex(of: "/").map { pointer[...$0] } ?? ""
        revision?.key = "\(directory)\(id).manifest"
    }

    /// What a web server has: an index or a list at a URL, or the lines of a list.
    public struct Web: Equatable, Hashable, Sendable {
        public var url: String?
        public var urls: [String]

        public init(url: String?, urls: [String] = []) {
            self.url = url
            self.urls = urls
        }
    }
}

extension SessionSpec {
    private enum Tag {
        static let bucket: UInt16 = 1
        static let prefix: UInt16 = 2
        static let endpoint: UInt16 = 3
        static let region: UInt16 = 4
        static let pathStyle: UInt16 = 5
        static let requesterPays: UInt16 = 6
        static let metadataTTLMs: UInt16 = 7
        static let readAheadBytes: UInt16 = 8
        static let uid: UInt16 = 9
        static let gid: UInt16 = 10
        static let fileMode: UInt16 = 11
        static let directoryMode: UInt16 = 12
        static let caBundlePEM: UInt16 = 13
        static let stsEndpoint: UInt16 = 14
        static let scope: UInt16 = 15
        static let revisionID: UInt16 = 16
        static let revisionBucket: UInt16 = 17
        static let revisionKey: UInt16 = 18
        static let revisionEndpoint: UInt16 = 19
        static let revisionRegion: UInt16 = 20
        static let revisionPathStyle: UInt16 = 21
        static let isDatasetAnonymous: UInt16 = 22
        static let revisionPointer: UInt16 = 25
        static let webURL: UInt16 = 23
        static let webLine: UInt16 = 24
        static let dataset: UInt16 = 40
        static let cachePriority: UInt16 = 41
        static let isCachePinned: UInt16 = 42
        static let cacheQuotaBytes: UInt16 = 43
    }

    public var fields: Fields {
        var fields = Fields()
        fields.add(Tag.bucket, bucket)
        fields.add(Tag.prefix, prefix)
        fields.add(Tag.endpoint, endpoint)
        fields.add(Tag.region, region)
        if let pathStyle { fields.add(Tag.pathStyle, pathStyle) }
        fields.add(Tag.requesterPays, requesterPays)
        fields.add(Tag.metadataTTLMs, metadataTTLMs)
        fields.add(Tag.readAheadBytes, readAheadBytes)
        fields.add(Tag.uid, Int(uid))
        fields.add(Tag.gid, Int(gid))
        fields.add(Tag.fileMode, Int(fileMode))
        fields.add(Tag.directoryMode, Int(directoryMode))
        fields.add(Tag.caBundlePEM, caBundlePEM)
        fields.add(Tag.stsEndpoint, stsEndpoint)
        fields.add(Tag.scope, scope)
        if let revision {
            fields.add(Tag.revisionID, revision.id)
            fields.add(Tag.revisionBucket, revision.bucket)
            fields.add(Tag.revisionKey, revision.key)
            fields.add(Tag.revisionEndpoint, revision.endpoint)
            fields.add(Tag.revisionRegion, revision.region)
            if let style = revision.pathStyle { fields.add(Tag.revisionPathStyle, style) }
            fields.add(Tag.isDatasetAnonymous, revision.isDatasetAnonymous)
            fields.add(Tag.revisionPointer, revision.pointer)
        }
        if let web {
            fields.add(Tag.webURL, web.url)
            for line in web.urls { fields.add(Tag.webLine, line) }
        }
        fields.add(Tag.dataset, dataset)
        fields.add(Tag.cachePriority, cachePriority)
        if isCachePinned { fields.add(Tag.isCachePinned, true) }
        fields.add(Tag.cacheQuotaBytes, cacheQuotaBytes)
        return fields
    }

    public init(_ fields: Fields) throws(NodeError) {
        self.init(bucket: try fields.required(Tag.bucket, "the bucket"))
        prefix = fields.text(Tag.prefix) ?? prefix
        endpoint = fields.text(Tag.endpoint)
        region = fields.text(Tag.region)
        pathStyle = fields.flag(Tag.pathStyle)
        requesterPays = fields.flag(Tag.requesterPays) ?? requesterPays
        metadataTTLMs = fields.number(Tag.metadataTTLMs) ?? metadataTTLMs
        readAheadBytes = fields.number(Tag.readAheadBytes)
        uid = fields.number(Tag.uid).flatMap(UInt32.init(exactly:)) ?? uid
        gid = fields.number(Tag.gid).flatMap(UInt32.init(exactly:)) ?? gid
        fileMode = fields.number(Tag.fileMode).flatMap(UInt32.init(exactly:)) ?? fileMode
        directoryMode = fields.number(Tag.directoryMode).flatMap(UInt32.init(exactly:)) ?? directoryMode
        caBundlePEM = fields.text(Tag.caBundlePEM)
        stsEndpoint = fields.text(Tag.stsEndpoint)
        scope = try fields.required(Tag.scope, "the credential scope")
        if let id = fields.text(Tag.revisionID) {
            var revision = Revision(
                id: id, bucket: try fields.required(Tag.revisionBucket, "the manifest's bucket"),
                key: try fields.required(Tag.revisionKey, "the manifest's key"))
            revision.endpoint = fields.text(Tag.revisionEndpoint)
            revision.region = fields.text(Tag.revisionRegion)
            revision.pathStyle = fields.flag(Tag.revisionPathStyle)
            revision.isDatasetAnonymous = fields.flag(Tag.isDatasetAnonymous) ?? false
            revision.pointer = fields.text(Tag.revisionPointer)
            self.revision = revision
        }
        let lines = fields.all(Tag.webLine).map { String(decoding: $0, as: UTF8.self) }
        let url = fields.text(Tag.webURL)
        if url != nil || !lines.isEmpty { web = Web(url: url, urls: lines) }
        dataset = fields.text(Tag.dataset)
        cachePriority = fields.number(Tag.cachePriority)
        isCachePinned = fields.flag(Tag.isCachePinned) ?? false
        cacheQuotaBytes = fields.number(Tag.cacheQuotaBytes)
    }
}
