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
    /// A digest of who the credentials belong to: nothing is shared, in memory or on disk, between scopes.
    public var scope: String

    public init(
        bucket: String, prefix: String = "", endpoint: String? = nil, region: String? = nil, pathStyle: Bool? = nil,
        requesterPays: Bool = false, metadataTTLMs: Int = 1_000, readAheadBytes: Int? = nil, uid: UInt32 = 0,
        gid: UInt32 = 0, fileMode: UInt32 = 0o444, directoryMode: UInt32 = 0o555, caBundlePEM: String? = nil,
        stsEndpoint: String? = nil, scope: String = ""
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
        self.scope = scope
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
    }
}
