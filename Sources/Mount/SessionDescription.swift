import BlockCache
import Namespace
import S3

/// What a mount shows and how: everything but the store its bytes come from. Holds no secret.
public struct SessionDescription: Sendable, Equatable {
    public var bucket: String
    /// "" or ends in "/".
    public var prefix: ObjectKey
    public var policy: MetadataPolicy
    /// The snapshot that is shown; nil: what is there now.
    public var revision: String?
    public var uid: UInt32
    public var gid: UInt32
    /// Permission bits.
    public var fileMode: UInt32
    public var directoryMode: UInt32
    /// Bytes that a sequential reader may have ahead of it in our memory, at most.
    public var readAheadBytes: Int
    /// How far the kernel asks ahead of a sequential reader, in KiB. A page fault of mmap reads that much around it.
    public var kernelReadAheadKiB: Int
    /// Bytes of the page cache that files read for the first time may fill together, before their pages are given up
    /// behind the reader; nil: a sixteenth of the machine's memory.
    public var keptBytes: Int?
    /// Whether complete files of the disk cache may be read by the kernel itself, where it can (Linux 6.9, root).
    public var passesThrough: Bool
    /// Digest of the endpoint and the credentials' rights: nothing is shared, in memory or on disk, between scopes.
    public var scope: String
    /// Whose the bytes are in the disk cache, and how long they stay there.
    public var cache: CachePolicy

    public init(
        bucket: String, prefix: ObjectKey = ObjectKey(""), policy: MetadataPolicy = MetadataPolicy(),
        revision: String? = nil, uid: UInt32 = 0, gid: UInt32 = 0, fileMode: UInt32 = 0o444,
        directoryMode: UInt32 = 0o555, readAheadBytes: Int = 256 << 20, kernelReadAheadKiB: Int = 4096,
        keptBytes: Int? = nil, passesThrough: Bool = true, scope: String = "", cache: CachePolicy = CachePolicy()
    ) {
        self.bucket = bucket
        self.prefix = prefix
        self.policy = policy
        self.revision = revision
        self.uid = uid
        self.gid = gid
        self.fileMode = fileMode
        self.directoryMode = directoryMode
        self.readAheadBytes = readAheadBytes
        self.kernelReadAheadKiB = kernelReadAheadKiB
        self.keptBytes = keptBytes
        self.passesThrough = passesThrough
        self.scope = scope
        self.cache = cache
    }

    /// What mountinfo shows as the device.
    public var source: String {
        // A web server's URL stands for itself.
        let place = bucket.contains("://") ? bucket : "s3://\(bucket)" + (prefix.bytes.isEmpty ? "" : "/\(prefix)")
        return place + (revision.map { "@\($0)" } ?? "")
    }
}

/// What all sessions of one engine share.
public struct EngineOptions: Sendable {
    /// A hard limit for the bytes of objects in memory.
    public var memoryBytes: Int
    /// A directory that keeps them over restarts, too, and how much it may hold.
    public var cache: (directory: String, maxBytes: UInt64)?
    /// What that leaves free on its file system, in bytes; nil: 1 GiB, or 5 % of a small one.
    public var cacheFreeBytes: UInt64?
    /// Threads that serve FUSE; nil: as many as there are cores.
    public var workers: Int?
    /// Requests that take longer get a line in the log.
    public var slowRequestMs: Int
    /// Memory that isn't needed goes back to the system after so long without a READ.
    public var idleMs: Int
    /// Whether the kernel is had ask again what a dead engine left unanswered; false does as on kernels before 6.9.
    public var resends: Bool

    public init(
        memoryBytes: Int = 512 << 20, cache: (directory: String, maxBytes: UInt64)? = nil,
        cacheFreeBytes: UInt64? = nil, workers: Int? = nil, slowRequestMs: Int = 5000, idleMs: Int = 10_000,
        resends: Bool = true
    ) {
        self.resends = resends
        self.memoryBytes = memoryBytes
        self.cache = cache
        self.cacheFreeBytes = cacheFreeBytes
        self.workers = workers
        self.slowRequestMs = slowRequestMs
        self.idleMs = idleMs
    }
}
