import Logging
import Metrics
import S3
import SystemPackage
import Threads

/// The tree of one S3 prefix: inodes, lookups, listings.
public final class Namespace: Sendable {
    public init(
        store: any ObjectStore, prefix: ObjectKey, policy: MetadataPolicy, metrics: Registry, logger: Logger
    ) {
    }

    /// Finds `name` in a directory and adds 1 to the inode's lookup count on success. `done` runs before the call
    /// returns where the answer is known, else on a transfer thread.
    public func lookup(
        _ name: UnsafeRawBufferPointer, in parent: InodeNumber,
        _ done: @escaping @Sendable (Result<Attributes, Errno>) -> Void
    ) { done(.failure(.noFunction)) }

    /// `refresh` false: what is known within its time to live, else S3 is asked; true: S3 is always asked.
    public func attributes(
        _ inode: InodeNumber, refresh: Bool, _ done: @escaping @Sendable (Result<Attributes, Errno>) -> Void
    ) { done(.failure(.noFunction)) }

    /// The version to pin for an open: known and fresh at once, else after a request.
    public func openVersion(
        _ inode: InodeNumber, _ done: @escaping @Sendable (Result<FileVersion, Errno>) -> Void
    ) { done(.failure(.noFunction)) }

    /// ESTALE was seen: forget what is known of this file, so that the next lookup asks S3.
    public func invalidate(_ inode: InodeNumber) {}

    /// Does no I/O.
    public func openDirectory(_ inode: InodeNumber) -> Result<DirectoryStream, Errno> { .failure(.noFunction) }

    public func forget(_ inode: InodeNumber, lookups: UInt64) {}

    /// Regular files that come after this one in its directory's order, as far as they are known, at most `count`. Does
    /// no I/O.
    public func files(after inode: InodeNumber, count: Int) -> [(inode: InodeNumber, version: FileVersion)] { [] }

    public var counts: (inodes: Int, bytes: Int) { (0, 0) }

    /// Set before first use.
    public var journal: (any InodeJournal)? {
        get { nil }
        set {}
    }

    /// Takes over the inodes of an engine that is gone, into an empty namespace.
    public func restore(_ records: [InodeRecord]) {}
}
