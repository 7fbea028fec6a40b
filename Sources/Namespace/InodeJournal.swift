/// An inode that the kernel knows, with enough to go on after a takeover: its place in the tree.
public struct InodeRecord: Sendable, Equatable {
    public var inode: InodeNumber
    public var parent: InodeNumber
    public var isDirectory: Bool
    public var name: [UInt8]

    public init(inode: InodeNumber, parent: InodeNumber, isDirectory: Bool, name: [UInt8]) {
        self.inode = inode
        self.parent = parent
        self.isDirectory = isDirectory
        self.name = name
    }
}

/// Hears of every inode that the kernel comes to know and forgets, in that order for each inode. Called before the
/// kernel has its answer, and with no lock held that a call into the namespace takes. Must not block.
public protocol InodeJournal: AnyObject, Sendable {
    func added(_ record: InodeRecord)
    func forgot(_ inode: InodeNumber)
}
