import S3

/// Names a directory, or one version of a file, to the kernel. 1 is the root; every other number is a hash of the path
/// and, for files, of the version, so it is the same after a forget, an eviction or a restart of the engine. An object
/// that is replaced gets a new number: the kernel never mixes pages or sizes of two versions.
public typealias InodeNumber = UInt64

public let rootInode: InodeNumber = 1

/// What `stat` needs.
public struct Attributes: Sendable, Equatable {
    public var inode: InodeNumber
    public var isDirectory: Bool
    /// Bytes; 0 for directories.
    public var size: UInt64
    /// Seconds since 1970. For directories, which S3 has none of: when the namespace was made.
    public var modified: Int64

    public init(inode: InodeNumber, isDirectory: Bool, size: UInt64, modified: Int64) {
        self.inode = inode
        self.isDirectory = isDirectory
        self.size = size
        self.modified = modified
    }
}

/// What an open pins: one version of one object.
public struct FileVersion: Sendable, Equatable {
    public var key: ObjectKey
    /// Without quotes.
    public var etag: String
    /// Nil, as listings don't tell it: the ETag pins the version.
    public var versionID: String?
    /// Bytes.
    public var size: UInt64
    /// False for archived objects (Glacier's classes), which must be restored before they can be read.
    public var isReadable: Bool

    public init(key: ObjectKey, etag: String, versionID: String? = nil, size: UInt64, isReadable: Bool = true) {
        self.key = key
        self.etag = etag
        self.versionID = versionID
        self.size = size
        self.isReadable = isReadable
    }
}

/// How long what S3 said is trusted, and how much of it is kept.
public struct MetadataPolicy: Sendable, Equatable {
    /// For names that are there, in milliseconds; `.max`: for ever.
    public var ttlMs: Int
    /// For names that are not there.
    public var negativeTTLMs: Int
    /// Listings that nobody refers to are dropped, least recently used first, beyond this many bytes. What the kernel
    /// knows stays.
    public var maxBytes: Int

    public init(ttlMs: Int = 1000, negativeTTLMs: Int = 1000, maxBytes: Int = 128 << 20) {
        self.ttlMs = ttlMs
        self.negativeTTLMs = negativeTTLMs
        self.maxBytes = maxBytes
    }

    /// For buckets in which no object ever changes, appears or goes.
    public static let immutable = MetadataPolicy(ttlMs: .max, negativeTTLMs: .max)
}

/// One entry of a directory, valid during the call that hands it over.
public struct DirectoryEntry {
    public var name: UnsafeRawBufferPointer
    public var attributes: Attributes
    /// Reading from here gives what follows this entry.
    public var nextCookie: UInt64
}
