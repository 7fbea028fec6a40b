import Glibc
import S3

/// One object of a stand-in.
public struct StoredObject: Sendable {
    public var body: ObjectBody
    /// Without quotes.
    public var etag: String
    /// Seconds since 1970.
    public var modified: Int64
    public var storageClass: String?
    public var contentType: String?
    public var versionID: String?
    /// GET and HEAD answer 403; listings show it.
    public var isDenied = false

    /// ETag: nil takes what S3 would have, the MD5 of the bytes; of bodies that aren't in memory it is made up as for
    /// a multipart upload.
    public init(
        _ body: ObjectBody, etag: String? = nil, modified: Int64 = Int64(time(nil)), storageClass: String? = nil,
        contentType: String? = nil
    ) {
        self.body = body
        self.modified = modified
        self.storageClass = storageClass
        self.contentType = contentType
        if let etag {
            self.etag = etag
        } else {
            switch body {
            case .bytes(let bytes): self.etag = hex(digest(.md5, bytes))
            case .generated(let size, let seed): self.etag = hex(digest(.md5, Array("\(size) \(seed)".utf8))) + "-2"
            case .file(let path, let size):
                self.etag = hex(digest(.md5, Array("\(path) \(size) \(modified)".utf8))) + "-2"
            }
        }
    }

    public var isReadable: Bool { storageClass != "GLACIER" && storageClass != "DEEP_ARCHIVE" }

    var metadata: ObjectMetadata {
        ObjectMetadata(
            size: body.size, etag: etag, modified: modified, versionID: versionID, storageClass: storageClass,
            contentType: contentType)
    }
}
