import Namespace
import Threads

/// The open files of a file system by inode, and which version each inode was last opened with.
///
/// The kernel has one page cache for an inode, so two versions of it must never be read at the same time: as soon as a
/// newer one is opened, handles of the older one are stale.
final class OpenFiles: Sendable {
    private struct Entry {
        var version: Int
        var files: [Unmanaged<OpenFile>] = []
    }
    /// Inodes that are remembered; forgetting one costs its page cache at the next open.
    private static let limit = 1 << 18

    private let entries = Locked<[InodeNumber: Entry]>([:])

    /// Whether the inode's last open had this version too, so that what the kernel has cached of it still holds.
    func knows(_ inode: InodeNumber, _ version: FileVersion) -> Bool {
        entries.withLock { $0[inode]?.version == OpenFiles.digest(version) }
    }

    /// Registers an open. Answers whether the last open of this inode had the same version, and the files of an older
    /// one, which are stale now.
    func insert(_ file: OpenFile) -> (isSameVersion: Bool, stale: [OpenFile]) {
        let version = OpenFiles.digest(file.version)
        return entries.withLock { entries in
            if entries.count >= OpenFiles.limit, entries[file.inode] == nil {
                entries = entries.filter { !$0.value.files.isEmpty }
            }
            var entry = entries[file.inode] ?? Entry(version: 0)
            let isSame = entry.version == version
            var stale: [OpenFile] = []
            if !isSame {
                stale = entry.files.map { $0.takeUnretainedValue() }
                entry = Entry(version: version)
            }
            entry.files.append(Unmanaged.passUnretained(file))
            entries[file.inode] = entry
            return (isSame, stale)
        }
    }

    func remove(_ file: OpenFile) {
        entries.withLock { entries in
            entries[file.inode]?.files.removeAll { $0.toOpaque() == Unmanaged.passUnretained(file).toOpaque() }
        }
    }

    /// The inode's content is unknown: its next open starts with an empty page cache.
    func forget(_ inode: InodeNumber) { entries.withLock { $0[inode]?.version = 0 } }

    var count: Int { entries.withLock { $0.values.reduce(0) { $0 + $1.files.count } } }

    private static func digest(_ version: FileVersion) -> Int {
        var hasher = Hasher()
        hasher.combine(version.etag)
        hasher.combine(version.versionID)
        hasher.combine(version.size)
        return hasher.finalize() | 1
    }
}
