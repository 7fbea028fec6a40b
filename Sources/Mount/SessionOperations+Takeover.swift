import FileSystem
import Fuse
import Namespace
import SystemPackage

/// Going on where an engine before has ended.
extension SessionOperations {
    /// Before the first request.
    func restore(_ state: JournalState) {
        fileSystem.namespace.restore(Array(state.inodes.values))
        for record in state.files.values {
            let file = fileSystem.reopen(record.inode, version: record.version)
            let mode: OpenModes.Mode = record.backing == 0 ? .cached : .passthrough(record.backing)
            _ = modes.withLock { $0.opened(record.inode, offered: mode) }
            files.restore(FileHandle(file, unique: record.unique), as: record.handle)
        }
        for record in state.directories.values {
            switch fileSystem.namespace.openDirectory(record.inode) {
            case .success(let stream):
                directories.restore(DirectoryHandle(stream, unique: record.unique), as: record.handle)
            case .failure(let errno):
                logger.warning(
                    "An open directory is lost.", metadata: ["inode": "\(record.inode)", "error": "\(errno)"])
            }
        }
    }

    /// Handles of opens that failed under the engine before: the kernel never learned of them.
    func dropUnanswered(_ uniques: Set<UInt64>) {
        let originals = Set(uniques.map(Request.original))
        for (handle, value) in files.all where originals.contains(value.unique) { closeFile(handle) }
        for (handle, value) in directories.all where originals.contains(value.unique) { closeDirectory(handle) }
    }
}
