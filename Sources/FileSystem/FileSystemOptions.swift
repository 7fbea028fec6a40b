import BlockCache

/// How one file system reads.
public struct FileSystemOptions: Sendable {
    /// Digest of the endpoint and the credentials' rights: what is cached with one is never read with another.
    public var scope: String
    public var bucket: String
    /// Bytes that a sequential reader may have ahead of it, at most; 0: nothing is read ahead.
    public var readAheadBytes: Int
    /// Bytes of a part of a sequential read, at most: one request each, several at a time.
    public var partBytes: Int
    /// Objects up to this size are fetched whole when they are opened; 0: none are.
    public var wholeObjectBytes: UInt64
    /// Files to fetch ahead of somebody who opens a directory's files in their order, at most; 0: none.
    public var nextFiles: Int
    /// Bytes of the kernel's page cache that files may fill which are read from start to end for the first time. Where
    /// those that are read now are larger together, their pages are given up behind the reader.
    public var keptBytes: Int
    /// How far a program may be behind what the kernel asks for.
    public var kernelReadAheadBytes: Int
    /// Complete files of the disk cache may be handed to the kernel.
    public var passesThrough: Bool
    /// How the disk cache treats its bytes.
    public var cache: CachePolicy

    public init(
        scope: String, bucket: String, readAheadBytes: Int = 256 << 20, partBytes: Int = 8 << 20,
        wholeObjectBytes: UInt64 = 8 << 20, nextFiles: Int = 128, keptBytes: Int = .max,
        kernelReadAheadBytes: Int = 4 << 20, passesThrough: Bool = true, cache: CachePolicy = CachePolicy()
    ) {
        self.scope = scope
        self.bucket = bucket
        self.readAheadBytes = readAheadBytes
        self.partBytes = partBytes
        self.wholeObjectBytes = wholeObjectBytes
        self.nextFiles = nextFiles
        self.keptBytes = keptBytes
        self.kernelReadAheadBytes = kernelReadAheadBytes
        self.passesThrough = passesThrough
        self.cache = cache
    }
}
