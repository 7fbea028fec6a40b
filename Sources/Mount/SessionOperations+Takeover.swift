import FileSystem
import Fuse
import Namespace
import SystemPackage

/// Going on where an engine before has ended.
extension SessionOperations {
    /// Before the first request.
    func restore(_ state: JournalState) {
        fileSystem.namespace.restore(Array(state.inodes.values))
        nodes.withLock { nodes in
            // Later aliases have greater numbers: the last one of an inode is the one that lookups get.
            let last = state.aliases.reduce(into: [InodeNumber: UInt64]()) { last, alias in
                last[alias.value] = max(last[alias.value] ?? 0, alias.key)
            }
            for (node, inode) in state.aliases { nodes.restore(alias: node, of: inode, isCurrent: last[inode] == node) }
            for record in state.files.values {
                nodes.restore(
                    record.node, record.version, mode: record.backing == 0 ? .cached : .passthrough(record.backing))
            }
        }
        for record in state.files.values {
            let file = fileSystem.reopen(record.inode, version: record.version)
            files.restore(FileHandle(file, node: record.node, unique: record.unique), as: record.handle)
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
}
