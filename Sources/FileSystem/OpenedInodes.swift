import Namespace

/// The inodes that were opened before. An inode is one version of one object, so the kernel's pages of these still hold.
struct OpenedInodes: Sendable {
    /// Beyond this, all are forgotten: each costs its page cache once, at its next open.
    private static let limit = 1 << 18

    private var inodes: Set<InodeNumber> = []

    func contains(_ inode: InodeNumber) -> Bool { inodes.contains(inode) }

    /// Answers whether it is there already.
    mutating func insert(_ inode: InodeNumber) -> Bool {
        if inodes.count >= OpenedInodes.limit { inodes = [] }
        return !inodes.insert(inode).inserted
    }

    mutating func remove(_ inode: InodeNumber) { inodes.remove(inode) }
}
