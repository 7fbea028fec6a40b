import Namespace

/// The inodes that were opened before. An inode is one version of one object, so the kernel's pages of these still hold.
/// And how often each is open now.
struct OpenedInodes: Sendable {
    /// Beyond this, all are forgotten: each costs its page cache once, at its next open.
    private static let limit = 1 << 18

    private var inodes: Set<InodeNumber> = []
    private var openCounts: [InodeNumber: Int] = [:]

    func contains(_ inode: InodeNumber) -> Bool { inodes.contains(inode) }

    /// It is opened; answers whether it was before.
    mutating func opened(_ inode: InodeNumber) -> Bool {
        openCounts[inode, default: 0] += 1
        if inodes.count >= OpenedInodes.limit { inodes = [] }
        return !inodes.insert(inode).inserted
    }

    mutating func closed(_ inode: InodeNumber) {
        guard let count = openCounts[inode] else { return }
        openCounts[inode] = count > 1 ? count - 1 : nil
    }

    func openCount(_ inode: InodeNumber) -> Int { openCounts[inode] ?? 0 }

    mutating func forget(_ inode: InodeNumber) { inodes.remove(inode) }
}
