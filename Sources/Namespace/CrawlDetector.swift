import Threads

/// Notices that somebody walks a tree: several directories of one parent are listed one after the other.
struct CrawlDetector {
    /// So many children listed within `windowMs` are a crawl.
    static let threshold = 3
    static let windowMs = 10_000.0
    /// A parent whose crawl failed or was of little use is left alone for a while.
    static let banMs = 60_000
    private static let capacity = 32

    private struct Parent {
        var inode: InodeNumber
        var children: [InodeNumber]
        var last: Instant
        var bannedUntil: Instant?
    }
    private var parents: [Parent] = []

    /// A child of `parent` had to be listed. True: the rest of the parent should be crawled.
    mutating func listed(_ child: InodeNumber, in parent: InodeNumber, now: Instant) -> Bool {
        let i = index(parent, now)
        if now.ms(since: parents[i].last) > Self.windowMs { parents[i].children = [] }
        parents[i].last = now
        if let until = parents[i].bannedUntil {
            if now < until { return false }
            parents[i].bannedUntil = nil
        }
        if !parents[i].children.contains(child) { parents[i].children.append(child) }
        guard parents[i].children.count >= Self.threshold else { return false }
        // Not again for the directories that this crawl is going to list.
        parents[i].children = []
        return true
    }

    mutating func ban(_ parent: InodeNumber, now: Instant) {
        let i = index(parent, now)
        parents[i].bannedUntil = now.advanced(byMs: Self.banMs)
    }

    private mutating func index(_ parent: InodeNumber, _ now: Instant) -> Int {
        if let found = parents.firstIndex(where: { $0.inode == parent }) { return found }
        if parents.count == Self.capacity {
            let oldest = parents.indices.min { parents[$0].last < parents[$1].last }!
            parents.remove(at: oldest)
        }
        parents.append(Parent(inode: parent, children: [], last: now))
        return parents.count - 1
    }
}
