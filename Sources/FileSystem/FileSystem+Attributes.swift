import BlockCache
import Glibc
import Namespace
import S3
import SystemPackage

/// Extended attributes and `statfs`.
extension FileSystem {
    private enum Attribute: String, CaseIterable {
        case key = "user.s3.key"
        case etag = "user.s3.etag"
        case storageClass = "user.s3.storage-class"
        case contentType = "user.s3.content-type"
    }

    private static let noData = Errno(rawValue: ENODATA)

    /// The value of one extended attribute of a file. ENODATA where it has none; directories have none at all.
    public func extendedAttribute(
        _ inode: InodeNumber, name: String, _ done: @escaping @Sendable (Result<[UInt8], Errno>) -> Void
    ) {
        if let request = WarmUpRequest(name) { return answer(request, inode, done) }
        guard let attribute = Attribute(rawValue: name) else { return done(.failure(FileSystem.noData)) }
        namespace.openVersion(inode) { [store] result in
            switch result {
            case .failure(.isDirectory): done(.failure(FileSystem.noData))
            case .failure(let errno): done(.failure(errno))
            case .success(let version):
                switch attribute {
                case .key: done(.success(version.key.bytes))
                case .etag: done(.success(Array(version.etag.utf8)))
                case .storageClass, .contentType:
                    store.head(version.key) { result in
                        switch result {
                        case .failure(let error): done(.failure(error.readErrno))
                        case .success(let metadata):
                            // S3 leaves the class out where it is STANDARD.
                            let value =
                                attribute == .storageClass ? metadata.storageClass ?? "STANDARD" : metadata.contentType
                            done(value.map { .success(Array($0.utf8)) } ?? .failure(FileSystem.noData))
                        }
                    }
                }
            }
        }
    }

    /// The names of a file's extended attributes; a directory has none. Asks S3 only where the file's version isn't known.
    public func extendedAttributeNames(
        _ inode: InodeNumber, _ done: @escaping @Sendable (Result<[String], Errno>) -> Void
    ) {
        namespace.attributes(inode, refresh: false) { result in
            done(result.map { $0.isDirectory ? [] : Attribute.allCases.map(\.rawValue) })
        }
    }

    /// What `statfs` answers. S3 has no end and no count, so the sizes are large and all of it is used by others.
    public func statistics() -> FileSystemStatistics {
        FileSystemStatistics(blockBytes: BlockCache.blockBytes, inodes: UInt64(namespace.counts.inodes))
    }
}

public struct FileSystemStatistics: Sendable, Equatable {
    /// Bytes of a block, the preferred size of a read.
    public var blockBytes: Int
    /// 1 EiB, of which nothing is free: the file system is read-only.
    public var blocks: UInt64 { (1 << 60) / UInt64(blockBytes) }
    public var freeBlocks: UInt64 { 0 }
    /// Inodes that are known at the moment.
    public var inodes: UInt64
    /// Bytes of a name, at most.
    public var nameBytes: Int { 255 }
}
