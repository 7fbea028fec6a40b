import Threads

extension Namespace {
    /// A flat listing from this directory to the end of a directory above it, if somebody walks that one.
    func crawl(
        _ directory: Directory, _ position: [UInt8], _ since: KnownRanges.Since, _ now: Instant
    ) -> Listing? {
        guard position.isEmpty else { return nil }
        var top = directory
        while top.inode != rootInode, let parent = table.directories[top.parent],
            detector.listed(top.inode, in: parent.inode, now: now), isWalked(parent, upTo: top)
        {
            top = parent
        }
        guard top !== directory else { return nil }
        let lower = Array(directory.path[top.path.count...])
        let (landmarks, pages) = landmarks(top, from: lower)
        guard landmarks.count > 1 else { return nil }
        let planner = SplitPlanner(
            lower: lower, upper: nil, scale: KeyScale(landmarks: landmarks), lanes: Listing.lanes, expectedPages: pages)
        return make(top, isFlat: true, planner, now)
    }

    func make(_ directory: Directory, isFlat: Bool, _ planner: SplitPlanner, _ now: Instant) -> Listing {
        Listing(
            directory, isFlat: isFlat, planner: planner, started: now, stamp: stamp(now),
            stampMs: max(policy.ttlMs == .max ? 0 : policy.ttlMs / 8, 100), emittedBefore: emitted)
    }

    /// Whether those who listed children of a directory listed what is below them too. Who doesn't (`ls */`) has no use
    /// for a flat listing.
    private func isWalked(_ parent: Directory, upTo last: Directory) -> Bool {
        for block in parent.blocks {
            for i in 0..<block.count where block.entries[i].isDirectory {
                guard let child = table.directories[block.inode(i)], child !== last else { continue }
                for block in child.blocks {
                    for i in 0..<block.count where block.entries[i].isDirectory && !block.entries[i].isGone {
                        return table.directories[block.inode(i)] != nil
                    }
                }
            }
        }
        return true
    }

    /// The subdirectories from `position` on, and how many pages all that is in them may be.
    private func landmarks(_ directory: Directory, from position: [UInt8]) -> ([[UInt8]], Double) {
        // No more than the planner can use: a million would be a memory of their own.
        let step = max(1, directory.blocks.reduce(0) { $0 + $1.count } / 2048)
        var all: [[UInt8]] = []
        var seen = 0
        var counted = 0
        var entries = 0
        for block in directory.blocks {
            for i in 0..<block.count where block.entries[i].isDirectory && !block.entries[i].isGone {
                if counted < 16, let child = table.directories[block.inode(i)], !child.blocks.isEmpty {
                    counted += 1
                    entries += child.blocks.reduce(0) { $0 + $1.count }
                }
                let raw = block.raw(i)
                // The directory in which the crawl begins is the first, though it begins deeper in it.
                if compare(position, raw) <= 0 || position.withUnsafeBytes({ $0.starts(with: raw) }) {
                    if seen % step == 0 { all.append(Array(raw)) }
                    seen += 1
                }
            }
        }
        let each = counted > 0 ? Double(max(entries, 1)) / Double(counted) : 100
        let pages = each * Double(seen) / SplitPlanner.pageSize
        return (all, pages)
    }

    /// A crawl that lists far more than anybody reads.
    func isWasted(_ listing: Listing) -> Bool {
        listing.listed > 100_000 && (emitted - listing.emittedBefore) * 64 < listing.listed
    }
}
