import CFuse
import Glibc

/// What stat(2) shows of an inode.
public struct FileAttributes: Sendable, Equatable {
    public var inode: UInt64
    /// Type and permissions.
    public var mode: UInt32
    public var size: UInt64
    /// Seconds since 1970; used for all times of the file.
    public var modified: Int64
    public var uid: UInt32
    public var gid: UInt32

    public init(inode: UInt64, mode: UInt32, size: UInt64, modified: Int64, uid: UInt32, gid: UInt32) {
        self.inode = inode
        self.mode = mode
        self.size = size
        self.modified = modified
        self.uid = uid
        self.gid = gid
    }

    public static let blockBytes: UInt32 = 1 << 20

    var status: stat {
        var out = stat()
        out.st_ino = UInt(inode)
        out.st_mode = mode
        out.st_nlink = 1
        out.st_size = Int(clamping: size)
        out.st_blocks = Int(clamping: (size / 512) + (size % 512 == 0 ? 0 : 1))
        out.st_blksize = Int(Self.blockBytes)
        let time = timespec(tv_sec: Int(modified), tv_nsec: 0)
        out.st_mtim = time
        out.st_ctim = time
        out.st_atim = time
        out.st_uid = uid
        out.st_gid = gid
        return out
    }
}

/// How long the kernel may trust an answer, in milliseconds.
public struct Validity: Sendable, Equatable {
    public var entryMs: Int
    public var attributesMs: Int

    public init(entryMs: Int, attributesMs: Int) {
        self.entryMs = entryMs
        self.attributesMs = attributesMs
    }

    static func seconds(_ ms: Int) -> Double { min(Double(max(ms, 0)) / 1000, 1e9) }
}

/// The answer to an open.
public struct OpenReply: Sendable, Equatable {
    public enum Mode: Sendable, Equatable {
        /// Through the page cache; what it holds of this inode stays where `keep` is true.
        case cached(keep: Bool)
        /// Every read comes to us.
        case direct
        /// The kernel reads the file behind this backing id and asks us nothing.
        case passthrough(Int32)
    }
    public var handle: UInt64
    public var mode: Mode

    public init(handle: UInt64, mode: Mode) {
        self.handle = handle
        self.mode = mode
    }

    /// struct fuse_open_out: u64 handle, u32 flags, i32 backing id.
    var bytes: (UInt64, UInt32, Int32) {
        switch mode {
        case .cached(let keep): (handle, keep ? 1 << 1 : 0, 0)
        case .direct: (handle, 1 << 0, 0)
        case .passthrough(let id): (handle, 1 << 7, id)
        }
    }
}

/// The answer to the opening of a directory.
public struct OpenDirectoryReply: Sendable, Equatable {
    public var handle: UInt64
    /// The kernel may keep the listing in its page cache, and use what it already keeps.
    public var cache: Bool

    public init(handle: UInt64, cache: Bool) {
        self.handle = handle
        self.cache = cache
    }

    var bytes: (UInt64, UInt32, Int32) { (handle, cache ? (1 << 3) | (1 << 1) : 0, 0) }
}

/// What statfs(2) shows.
public struct FileSystemStatistics: Sendable, Equatable {
    public var blockBytes: Int
    public var blocks: UInt64
    public var freeBlocks: UInt64
    public var files: UInt64
    public var freeFiles: UInt64
    public var nameMax: Int

    public init(blockBytes: Int, blocks: UInt64, freeBlocks: UInt64, files: UInt64, freeFiles: UInt64, nameMax: Int) {
        self.blockBytes = blockBytes
        self.blocks = blocks
        self.freeBlocks = freeBlocks
        self.files = files
        self.freeFiles = freeFiles
        self.nameMax = nameMax
    }

    var status: statvfs {
        var out = statvfs()
        out.f_bsize = UInt(blockBytes)
        out.f_frsize = UInt(blockBytes)
        out.f_blocks = UInt(blocks)
        out.f_bfree = UInt(freeBlocks)
        out.f_bavail = UInt(freeBlocks)
        out.f_files = UInt(files)
        out.f_ffree = UInt(freeFiles)
        out.f_favail = UInt(freeFiles)
        out.f_namemax = UInt(nameMax)
        return out
    }
}
