import S3
import Threads

/// A small directory in use is listed again before what is known of it grows too old, so that nobody waits for it: one
/// LIST tells of all its names.
extension Namespace {
    /// Names that one LIST tells of, at most.
    static let renewableEntries = 1000
    /// Known names that were looked up since the last LIST: a few lookups aren't worth one.
    static let hitsToRenew = 8

    /// A name of the directory was looked up and was known. Answers what to do once the lock is released; nil: nothing.
    func renewal(of directory: Directory, _ now: Instant) -> (() -> Void)? {
        directory.hits += 1
        guard directory.hits >= Self.hitsToRenew, !directory.isRenewed, policy.ttlMs != .max,
            directory.ranges.reach(from: start, since: .init(since(policy.ttlMs, now))) == .end,
            directory.ranges.reach(from: start, since: .init(since(policy.ttlMs / 2, now))) != .end, isSmall(directory)
        else { return nil }
        directory.hits = 0
        directory.isRenewed = true
        let (inode, parent, path, sent) = (directory.inode, directory.parent, directory.path, stamp(now))
        return { [self] in
            metrics.listsForRenewal.add()
            store.list(ListRequest(prefix: ObjectKey(path), delimiter: slash)) { [self] result in
                lock.withLock {
                    let directory = table.directory(inode, parent: parent, path: path)
                    directory.isRenewed = false
                    // A failure shows when somebody needs the answer.
                    guard case .success(let page) = result else { return }
                    _ = read(page, directory, sent: sent, lower: [], end: nil)
                    table.trim()
                }
            }
        }
    }

    /// Takes in the first page of the root's listing, which somebody asked for before there was a namespace. `sent`: when.
    /// What isn't in it is asked for all the same.
    public func begin(with page: ListPage, sent: Instant) {
        lock.withLock {
            guard let root = table.directory(rootInode) else { return }
            let stamp = stamp(sent)
            if stamp == sent { begun = sent }
            _ = read(page, root, sent: stamp, lower: [], end: nil)
        }
    }

    /// Whether one LIST tells of all that was in it.
    func isSmall(_ directory: Directory) -> Bool {
        var count = 0
        for block in directory.blocks {
            count += block.count
            if count > Self.renewableEntries { return false }
        }
        return true
    }

    private var start: Bytes { Bytes(start: nil, count: 0) }
}
