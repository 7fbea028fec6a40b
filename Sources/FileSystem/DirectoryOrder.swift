import Namespace

/// Recognizes that somebody opens a directory's files in their order, also where several readers share the work, and
/// says which files to fetch before they are opened: a value, told of opens and of what the directory holds. No I/O.
public struct DirectoryOrder: Sendable {
    public struct File: Sendable, Equatable {
        public var inode: InodeNumber
        public var version: FileVersion
        public init(inode: InodeNumber, version: FileVersion) {
            self.inode = inode
            self.version = version
        }
    }

    /// A question to the directory: which files come after this one?
    public struct Query: Sendable, Equatable {
        fileprivate var run: Int
        public var after: InodeNumber
        public var count: Int
    }

    /// Files in their order, from some open on. Several runs are under way where each reader has a part of its own.
    private struct Run: Sendable {
        var id: Int
        var files: [File]
        /// Files that were opened out of order stay expected for a while.
        var isOpened: [Bool]
        /// One past the farthest file that was opened.
        var frontier = 0
        /// Files before this one were asked for.
        var asked = 0
        var hits = 0
        var depth = 4
        /// The directory isn't asked before the frontier is here: it had no more, or knew no more yet.
        var nextQueryAt = 0
        var lastUse: Int

        /// Enough opens, and most files just behind the frontier are among them: opens in no order leave holes.
        var isTrusted: Bool {
            guard hits >= DirectoryOrder.hitsToBelieve else { return false }
            let recent = isOpened[max(0, frontier - DirectoryOrder.lookAhead)..<frontier]
            return recent.count { $0 } * 2 >= recent.count
        }
    }

    private static let runLimit = 24
    /// How far apart readers who share one order may be.
    private static let lookAhead = 32
    /// Opens in order before anything is fetched.
    private static let hitsToBelieve = 3
    /// An open that continues a run comes within so many others, or it is there by chance.
    private static let memory = 64
    /// With so much doubt only every eighth open begins a run: looking costs more than it brings.
    private static let doubtLimit = 64
    private static let mostDoubt = 128
    private static let trustPerHit = 4

    private let depthLimit: Int
    private var runs: [Run] = []
    private var nextID = 0
    private var clock = 0
    /// Rises with opens in no order, falls with those in order.
    private var doubt = 0

    /// `depth`: files that may be fetched ahead, at most; 0: none ever are.
    public init(depth: Int) { depthLimit = depth }

    /// A file was opened. Answers what there is to ask of its directory before `next` says what to fetch.
    public mutating func opened(_ inode: InodeNumber) -> Query? {
        guard depthLimit > 0 else { return nil }
        clock += 1
        for i in runs.indices {
            guard let at = runs[i].files.firstIndex(where: { $0.inode == inode }) else { continue }
            guard !runs[i].isOpened[at] else { return nil }
            doubt = max(0, doubt - DirectoryOrder.trustPerHit)
            runs[i].isOpened[at] = true
            runs[i].hits = clock - runs[i].lastUse <= DirectoryOrder.memory ? runs[i].hits + 1 : 1
            runs[i].lastUse = clock
            runs[i].frontier = max(runs[i].frontier, at + 1)
            if runs[i].hits > DirectoryOrder.hitsToBelieve, runs[i].isTrusted {
                runs[i].depth = min(runs[i].depth * 2, depthLimit)
            }
            let query = refill(i, at)
            trim(i)
            return query
        }
        doubt = min(doubt + 1, DirectoryOrder.mostDoubt)
        guard doubt < DirectoryOrder.doubtLimit || clock % 8 == 0 else { return nil }
        if runs.count == DirectoryOrder.runLimit,
            let oldest = runs.indices.min(by: { runs[$0].lastUse < runs[$1].lastUse })
        {
            runs.remove(at: oldest)
        }
        nextID += 1
        runs.append(Run(id: nextID, files: [], isOpened: [], depth: min(4, depthLimit), lastUse: clock))
        return Query(run: nextID, after: inode, count: DirectoryOrder.lookAhead)
    }

    /// The directory's answer. It may have fewer files than were asked for, at its end or where no more are known yet.
    public mutating func answer(_ query: Query, _ files: [File]) {
        guard let i = runs.firstIndex(where: { $0.id == query.run }) else { return }
        var files = files[...]
        // What is known already, as the question was asked of a file before it.
        if let last = runs[i].files.last {
            guard let known = files.firstIndex(where: { $0.inode == last.inode }) else { return }
            if files.count < query.count { runs[i].nextQueryAt = runs[i].frontier + 4 }
            files = files[(known + 1)...]
        } else if files.isEmpty {
            runs.remove(at: i)
            return
        }
        runs[i].files += files
        runs[i].isOpened += Array(repeating: false, count: files.count)
    }

    /// Files to fetch now, in their order, after an open of this inode.
    ///
    /// - Parameter budgetBytes: The most that files which are not opened yet may take, all together.
    public mutating func next(after inode: InodeNumber, budgetBytes: Int) -> [File] {
        guard
            let i = runs.indices.first(where: {
                runs[$0].lastUse == clock && runs[$0].isTrusted
            })
        else { return [] }
        var ahead: UInt64 = 0
        for at in runs[i].frontier..<max(runs[i].frontier, runs[i].asked) where !runs[i].isOpened[at] {
            ahead += runs[i].files[at].version.size
        }
        var wanted: [File] = []
        var at = max(runs[i].asked, runs[i].frontier)
        let end = min(runs[i].files.count, runs[i].frontier + runs[i].depth)
        while at < end {
            let size = runs[i].files[at].version.size
            guard ahead + size <= UInt64(max(0, budgetBytes)) else { break }
            ahead += size
            if !runs[i].isOpened[at] { wanted.append(runs[i].files[at]) }
            at += 1
        }
        runs[i].asked = max(runs[i].asked, at)
        return wanted
    }

    /// Memory ran short: fewer files ahead will do.
    public mutating func wasDenied() {
        for i in runs.indices where runs[i].lastUse == clock { runs[i].depth = max(4, runs[i].depth / 2) }
    }

    /// Forgets files far behind the frontier: they were skipped.
    private mutating func trim(_ i: Int) {
        let excess = runs[i].frontier - 2 * DirectoryOrder.lookAhead
        guard excess >= DirectoryOrder.lookAhead else { return }
        runs[i].files.removeFirst(excess)
        runs[i].isOpened.removeFirst(excess)
        runs[i].frontier -= excess
        runs[i].asked = max(0, runs[i].asked - excess)
        runs[i].nextQueryAt = max(0, runs[i].nextQueryAt - excess)
    }

    /// Asks what follows the files that are known. Only of a file that was opened can the directory be asked.
    private func refill(_ i: Int, _ opened: Int) -> Query? {
        let run = runs[i]
        let wanted = run.frontier + max(run.depth, DirectoryOrder.lookAhead)
        guard run.isTrusted, run.frontier >= run.nextQueryAt, run.files.count < wanted else { return nil }
        // More than one further, as the next open would ask again.
        return Query(
            run: run.id, after: run.files[opened].inode, count: wanted - opened - 1 + DirectoryOrder.lookAhead)
    }
}
