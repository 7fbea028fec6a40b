/// What the caches and the file system need of an object store: one bucket, read-only, asynchronous.
///
/// Completions and receivers are called on a transfer thread, exactly once (receivers: `finished` exactly once, last).
/// They must not block. No lock of the store is held meanwhile, so they may call the store again.
public protocol ObjectStore: AnyObject, Sendable {
    /// Starts reading a range of one version of an object.
    @discardableResult
    func get(_ request: GetRequest, _ receiver: any GetReceiver) -> any Transfer

    func head(_ key: ObjectKey, _ completion: @escaping @Sendable (Result<ObjectMetadata, S3Error>) -> Void)

    /// As `head`, with the checksums that the store keeps of the object. Needs the right to decrypt where it is encrypted.
    func headWithChecksums(
        _ key: ObjectKey, _ completion: @escaping @Sendable (Result<ObjectMetadata, S3Error>) -> Void)

    func list(_ request: ListRequest, _ completion: @escaping @Sendable (Result<ListPage, S3Error>) -> Void)
}

extension ObjectStore {
    public func headWithChecksums(
        _ key: ObjectKey, _ completion: @escaping @Sendable (Result<ObjectMetadata, S3Error>) -> Void
    ) { head(key, completion) }
}

/// What a request is for; the first goes first where connections or memory are short.
public enum Priority: UInt8, Sendable, Comparable, CaseIterable {
    case demand, readAhead, warmUp
    public static func < (a: Priority, b: Priority) -> Bool { a.rawValue < b.rawValue }
}

public struct GetRequest: Sendable {
    public var key: ObjectKey
    /// Bytes of the object that are wanted; not empty.
    public var range: Range<UInt64>
    /// The version: sent as If-Match *and* compared with the answer's ETag, as some servers ignore If-Match. Nil: any.
    public var etag: String?
    public var versionID: String?
    /// The object's size as it is known, compared with the answer's total. Nil: not known.
    public var size: UInt64?
    public var priority: Priority

    public init(
        key: ObjectKey, range: Range<UInt64>, etag: String? = nil, versionID: String? = nil, size: UInt64? = nil,
        priority: Priority = .demand
    ) {
        self.key = key
        self.range = range
        self.etag = etag
        self.versionID = versionID
        self.size = size
        self.priority = priority
    }
}

/// Takes the bytes of a GET.
public protocol GetReceiver: AnyObject, Sendable {
    /// The next bytes of the range, in order and without gaps, each byte once whatever was retried or hedged beneath.
    /// `offset` is in the object.
    func received(_ bytes: UnsafeRawBufferPointer, at offset: UInt64)

    /// The end: after success every byte of the range was received.
    func finished(_ result: Result<ObjectMetadata, S3Error>)
}

/// A GET under way.
public protocol Transfer: AnyObject, Sendable {
    /// Nobody wants the rest: `finished` is called soon with `.cancelled` unless it already was.
    func cancel()
    /// Somebody waits now for what was read ahead.
    func raise(to priority: Priority)
}

/// What S3 says of one object.
public struct ObjectMetadata: Sendable, Equatable {
    public var size: UInt64
    /// As sent, with its quotes taken off.
    public var etag: String
    /// Seconds since 1970.
    public var modified: Int64
    public var versionID: String?
    public var storageClass: String?
    public var contentType: String?
    /// False for Glacier's classes unless a restored copy is there.
    public var isReadable: Bool
    /// Of the whole object, in base64, by algorithm ("sha256", "crc64nvme"); asked for by `headWithChecksums`.
    public var checksums: [String: String] = [:]
    /// How the store encrypts it: AES256, aws:kms, …; nil: not said.
    public var encryption: String?

    public init(
        size: UInt64, etag: String, modified: Int64 = 0, versionID: String? = nil, storageClass: String? = nil,
        contentType: String? = nil, isReadable: Bool = true
    ) {
        self.size = size
        self.etag = etag
        self.modified = modified
        self.versionID = versionID
        self.storageClass = storageClass
        self.contentType = contentType
        self.isReadable = isReadable
    }
}

public struct ListRequest: Sendable {
    public var prefix: ObjectKey
    /// "/" groups by directory; nil lists flat.
    public var delimiter: UInt8?
    /// Keys strictly after this one.
    public var startAfter: ObjectKey?
    /// From the page before; `startAfter` is not sent with it.
    public var continuationToken: String?
    /// At most this many objects and prefixes; S3 caps it at 1000.
    public var maxKeys: Int

    public init(
        prefix: ObjectKey, delimiter: UInt8? = nil, startAfter: ObjectKey? = nil, continuationToken: String? = nil,
        maxKeys: Int = 1000
    ) {
        self.prefix = prefix
        self.delimiter = delimiter
        self.startAfter = startAfter
        self.continuationToken = continuationToken
        self.maxKeys = maxKeys
    }
}

/// One page of a listing, packed: a million keys pass through here, so no object has an allocation of its own.
/// Objects and prefixes are each in key order.
public struct ListPage: Sendable {
    public struct Object: Sendable {
        /// Ranges of `bytes`.
        public var key: Range<Int>
        public var etag: Range<Int>
        public var size: UInt64
        /// Seconds since 1970.
        public var modified: Int64
        /// False for Glacier's classes, which must be restored before they can be read.
        public var isReadable: Bool
        /// The version's ID, where versions were listed; else empty.
        public var version: Range<Int>

        public init(
            key: Range<Int>, etag: Range<Int>, size: UInt64, modified: Int64, isReadable: Bool = true,
            version: Range<Int> = 0..<0
        ) {
            self.key = key
            self.etag = etag
            self.size = size
            self.modified = modified
            self.isReadable = isReadable
            self.version = version
        }
    }

    public var bytes: [UInt8]
    public var objects: [Object]
    /// Common prefixes, each with its trailing delimiter, as ranges of `bytes`.
    public var prefixes: [Range<Int>]
    /// Nil: this was the last page.
    public var nextToken: String?

    public init(
        bytes: [UInt8] = [], objects: [Object] = [], prefixes: [Range<Int>] = [], nextToken: String? = nil
    ) {
        self.bytes = bytes
        self.objects = objects
        self.prefixes = prefixes
        self.nextToken = nextToken
    }
}
