import Glibc
import SystemPackage
import Threads

/// An open directory. Holds no listing: what was dropped meanwhile is listed again.
///
/// A cookie is a hash of the name before it, so it means the same in every engine. The entries of the last answer are
/// kept, so that the kernel may go on from any of them whatever became of it; a cookie from farther back is looked for
/// from the start.
public final class DirectoryStream: @unchecked Sendable {
    private let namespace: Namespace
    private let inode: InodeNumber
    private let parent: InodeNumber
    private let path: [UInt8]
    private let lock = Lock()
    // Under `lock`:
    /// What was listed before the stream was opened (or rewound) and its time to live is listed again.
    private var opened: Instant
    private var recent = RecentEntries()
    /// Entries that the last answer had room for: what is copied out beyond it is for nothing.
    private var room = 31
    private var isClosed = false
    /// It was read to its end.
    private var isComplete = false

    init(_ namespace: Namespace, _ directory: Directory, opened: Instant) {
        self.namespace = namespace
        inode = directory.inode
        parent = directory.parent
        path = directory.path
        self.opened = opened
    }

    /// Cookies of the start, "." and "..".
    private static let start: UInt64 = 0
    private static let dot: UInt64 = 1
    private static let dotDot: UInt64 = 2

    /// Calls `emit` for the entries from `cookie` on (0 is the start; "." and ".." come first) until it answers false
    /// (that entry was not taken) or they end. With `plus`, taken entries (but "." and "..") have their lookup count
    /// raised by one. Ends early, after one entry at least, where the rest isn't listed yet.
    ///
    /// Errors: EINVAL for a cookie whose entry is gone and was not among the last; what the LIST failed with.
    public func read(
        from cookie: UInt64, plus: Bool, emit: @escaping @Sendable (DirectoryEntry) -> Bool,
        done: @escaping @Sendable (Errno?) -> Void
    ) {
        let run = ReadRun(plus: plus, emit: emit, done: done)
        if cookie == Self.start { consume() }
        let isOpen = lock.withLock { () -> Bool in
            if cookie == Self.start { opened = namespace.clock() }
            run.since = since()
            run.batchLimit = room + 1
            if cookie > Self.dotDot {
                if let found = recent.position(after: cookie) {
                    run.position = found
                } else {
                    run.sought = cookie
                }
            }
            return !isClosed
        }
        guard isOpen else { return done(.badFileDescriptor) }
        if cookie == Self.start, !emitDot(run, ".", inode, Self.dot) { return done(nil) }
        if cookie <= Self.dot, !emitDot(run, "..", parent, Self.dotDot) { return done(nil) }
        go(on: run)
    }

    public func close() {
        lock.withLock {
            isClosed = true
            recent = RecentEntries()
        }
        consume()
    }

    /// What a crawl listed ahead was read: whoever reads it once more gets it as old as the policy allows.
    private func consume() {
        let isDue = lock.withLock {
            defer { isComplete = false }
            return isComplete
        }
        guard isDue else { return }
        namespace.lock.withLock {
            guard let directory = namespace.table.directories[inode] else { return }
            namespace.table.changeRanges(directory) { $0.consumeAhead() }
        }
    }

    private func emitDot(_ run: ReadRun, _ name: StaticString, _ inode: InodeNumber, _ cookie: UInt64) -> Bool {
        run.isStarted = true
        return run.emit(
            DirectoryEntry(
                name: Bytes(start: name.utf8Start, count: name.utf8CodeUnitCount),
                attributes: Attributes(inode: inode, isDirectory: true, size: 0, modified: namespace.created),
                nextCookie: cookie))
    }

    private func since() -> KnownRanges.Since {
        let policy = namespace.policy
        let ahead = max(policy.ttlMs, Namespace.crawlAheadMs)
        return .init(namespace.since(policy.ttlMs, opened), ahead: namespace.since(ahead, opened))
    }

    /// Emits what is known; then ends, or waits if nothing was emitted yet.
    private func go(on run: ReadRun) {
        while true {
            let step = namespace.lock.withLock { collect(run) }
            if run.plus { namespace.tellJournal() }
            let taken = emit(run)
            if taken < run.batch.count {
                run.isFull = true
                giveBack(run, from: taken)
                return finish(run, nil)
            }
            switch step {
            case .more: continue
            case .end:
                return finish(run, run.sought == nil ? nil : .invalidArgument)
            case .blocked(let position):
                if run.isStarted { return finish(run, nil) }
                return wait(run, position)
            }
        }
    }

    private func wait(_ run: ReadRun, _ position: [UInt8]) {
        let actions = namespace.lock.withLock {
            let directory = namespace.table.directory(inode, parent: parent, path: path)
            return namespace.request(directory, position, since: run.since) { [self] errno in
                if let errno { finish(run, errno) } else { go(on: run) }
            }
        }
        for action in actions { action() }
    }

    private func finish(_ run: ReadRun, _ errno: Errno?) {
        lock.withLock {
            if !isClosed, !run.recent.isEmpty { recent = run.recent }
            if run.isFull { room = min(max(run.recent.count, 31), 4095) }
            if run.isComplete { isComplete = true }
        }
        // An error after the first entries comes back with the next read.
        run.done(run.isStarted ? nil : errno)
    }

    // MARK: Batches

    private enum Step {
        case more
        case end
        /// Nothing is known of what is here.
        case blocked([UInt8])
    }

    /// Copies the next entries out of the table, as nobody may be called back under its lock.
    private func collect(_ run: ReadRun) -> Step {
        run.batch.removeAll(keepingCapacity: true)
        run.names.removeAll(keepingCapacity: true)
        let table = namespace.table
        let directory = table.directory(inode, parent: parent, path: path)
        table.touch(directory)
        let reach = run.position.withUnsafeBytes { directory.ranges.reach(from: $0, since: run.since) }
        if reach == .none { return .blocked(run.position) }
        var place = run.position.withUnsafeBytes { directory.place(from: $0) }
        var isFull = false
        var last: Directory.Place?
        var skipped: Directory.Place?
        while place.block < directory.blocks.count {
            let block = directory.blocks[place.block]
            let raw = block.raw(place.index)
            if case .until(let upper) = reach, compare(upper, raw) <= 0 { break }
            let entry = block.entries[place.index]
            if !entry.isGone {
                if run.batch.count == run.batchLimit {
                    isFull = true
                    break
                }
                if entry.isDirectory || run.sought != nil {
                    if add(run, block, place.index) { last = place } else { skipped = place }
                } else {
                    switch directory.isShadowed(place, reach: reach) {
                    case true?: break
                    case false?: if add(run, block, place.index) { last = place } else { skipped = place }
                    case nil:
                        // Whether a directory hides this file is told by what follows.
                        if let last { run.position = position(after: last, directory) }
                        if run.batch.isEmpty, let skipped { run.position = position(after: skipped, directory) }
                        guard case .until(let upper) = reach else { return .end }
                        return .blocked(upper)
                    }
                }
            }
            place = directory.after(place)
        }
        namespace.emitted += run.batch.count
        run.batchLimit = max(run.batchLimit / 4, 32)
        if isFull {
            run.position = position(after: last!, directory)
            return .more
        }
        guard case .until(let upper) = reach else {
            run.isComplete = true
            return .end
        }
        run.position = upper
        return .blocked(upper)
    }

    private func position(after place: Directory.Place, _ directory: Directory) -> [UInt8] {
        Position.after(entry: directory.blocks[place.block].raw(place.index))
    }

    /// False: not to be emitted.
    private func add(_ run: ReadRun, _ block: Block, _ i: Int) -> Bool {
        let hash = block.nameHash(i)
        let cookie = EntryHash.cookie(hash)
        if let sought = run.sought {
            if sought == cookie { run.sought = nil }
            return false
        }
        let inode = block.inode(i, hash)
        if run.plus, !namespace.table.addLookup(block, i, inode) { return false }
        let name = block.name(i)
        let start = run.names.count
        run.names.append(contentsOf: name)
        run.batch.append(
            .init(
                name: start..<run.names.count, attributes: namespace.attributes(block, i, inode), cookie: cookie))
        return true
    }

    /// The number of entries that were taken.
    private func emit(_ run: ReadRun) -> Int {
        run.names.withUnsafeBytes { names in
            for (i, item) in run.batch.enumerated() {
                let name = names.slice(item.name)
                guard run.emit(DirectoryEntry(name: name, attributes: item.attributes, nextCookie: item.cookie)) else {
                    return i
                }
                run.isStarted = true
                run.recent.add(name, isDirectory: item.attributes.isDirectory, item.cookie)
            }
            return run.batch.count
        }
    }

    private func giveBack(_ run: ReadRun, from first: Int) {
        namespace.lock.withLock {
            namespace.emitted -= run.batch.count - first
            guard run.plus else { return }
            for item in run.batch[first...] { namespace.table.forget(item.attributes.inode, 1) }
        }
        if run.plus { namespace.tellJournal() }
    }
}

/// The entries of a stream's last answer, packed.
struct RecentEntries {
    private var cookies: [UInt64] = []
    private var ends: [Int] = []
    private var bytes: [UInt8] = []

    var isEmpty: Bool { cookies.isEmpty }
    var count: Int { cookies.count }

    mutating func add(_ name: Bytes, isDirectory: Bool, _ cookie: UInt64) {
        bytes.append(contentsOf: name)
        if isDirectory { bytes.append(slash) }
        cookies.append(cookie)
        ends.append(bytes.count)
    }

    /// Where reading goes on after the entry of this cookie.
    func position(after cookie: UInt64) -> [UInt8]? {
        guard let i = cookies.lastIndex(of: cookie) else { return nil }
        return bytes.withUnsafeBytes { Position.after(entry: $0.slice((i == 0 ? 0 : ends[i - 1])..<ends[i])) }
    }
}

/// One `read` of a stream, which one thread after another may go on with.
final class ReadRun: @unchecked Sendable {
    struct Item {
        var name: Range<Int>
        var attributes: Attributes
        var cookie: UInt64
    }

    let plus: Bool
    let emit: @Sendable (DirectoryEntry) -> Bool
    let done: @Sendable (Errno?) -> Void
    var since = KnownRanges.Since(.init(nanoseconds: 0))
    /// Where to go on.
    var position: [UInt8] = []
    /// A cookie whose entry is looked for; emitting begins after it.
    var sought: UInt64?
    /// Something was emitted.
    var isStarted = false
    /// The end was reached.
    var isComplete = false
    /// The answer has no more room.
    var isFull = false
    var batch: [Item] = []
    var names: [UInt8] = []
    var batchLimit = 32
    var recent = RecentEntries()

    init(
        plus: Bool, emit: @escaping @Sendable (DirectoryEntry) -> Bool, done: @escaping @Sendable (Errno?) -> Void
    ) {
        self.plus = plus
        self.emit = emit
        self.done = done
    }
}
