import S3

/// Names the bytes of one version of one object, for those who may read it with one set of rights.
public struct FileVersionKey: Hashable, Sendable {
    /// Digest of the endpoint and the credentials' rights: bytes read with one are never given to another.
    public var scope: String
    public var bucket: String
    public var key: ObjectKey
    public var etag: String
    public var versionID: String?
    /// Bytes.
    public var size: UInt64

    public init(
        scope: String, bucket: String, key: ObjectKey, etag: String, versionID: String? = nil, size: UInt64
    ) {
        self.scope = scope
        self.bucket = bucket
        self.key = key
        self.etag = etag
        self.versionID = versionID
        self.size = size
    }
}
