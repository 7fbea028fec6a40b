import Threads

/// An inode that the kernel knows, with enough to go on after a takeover: its place in the tree and its version.
public struct InodeRecord: Sendable, Equatable {
    public var inode: InodeNumber
    public var parent: InodeNumber
    public var isDirectory: Bool
    public var name: [UInt8]
    /// Bytes. This and the rest: of files only.
    public var size: UInt64
    /// Seconds since 1970.
    public var modified: Int64
    public var etag: String
    public var isReadable: Bool

    public init(
        inode: InodeNumber, parent: InodeNumber, isDirectory: Bool, name: [UInt8], size: UInt64 = 0,
        modified: Int64 = 0,
        etag: String = "", isReadable: Bool = true
    ) {
        self.inode = inode
        self.parent = parent
        self.isDirectory = isDirectory
        self.name = name
        self.size = size
        self.modified = modified
        self.etag = etag
        self.isReadable = isReadable
    }
}

/// Hears of every inode that the kernel comes to know and forgets, in that order for each inode. Called before the
/// kernel has its answer, and with no lock held that a call into the namespace takes. Must not block.
public protocol InodeJournal: AnyObject, Sendable {
    func added(_ record: InodeRecord)
    func forgot(_ inode: InodeNumber)
}

/// Keeps the journal's calls in the order of the table's changes: they are noted under the namespace's lock and made
/// outside of it.
final class JournalQueue {
    let journal: any InodeJournal
    /// Held while events are taken and told, so that no later one overtakes them.
    let delivery = Lock()
    private var events: [Event] = []

    enum Event {
        case added(InodeRecord)
        case forgot(InodeNumber)
    }

    init(_ journal: any InodeJournal) { self.journal = journal }

    func added(_ block: Block, _ i: Int, _ inode: InodeNumber) {
        let entry = block.entries[i]
        events.append(
            .added(
                InodeRecord(
                    inode: inode, parent: block.directory.inode, isDirectory: entry.isDirectory,
                    name: Array(block.name(i)), size: entry.size, modified: entry.modified, etag: block.etag(i),
                    isReadable: !entry.flags.contains(.archived))))
    }

    func forgot(_ inode: InodeNumber) { events.append(.forgot(inode)) }

    func take() -> [Event] {
        defer { events = [] }
        return events
    }
}
