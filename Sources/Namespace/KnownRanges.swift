import Threads

/// The stretches of one directory's keys that were listed completely, and when. What lies in one and isn't in the table
/// isn't in the bucket. Keys are relative to the directory and may go deeper than it: "d/x" is in the stretch of "d/".
struct KnownRanges {
    struct Stretch: Equatable {
        var lower: [UInt8]
        /// Nil: to the end.
        var upper: [UInt8]?
        /// When the request was sent that told it, or one before it of the same listing.
        var fetched: Instant
        /// Listed ahead of a crawl and not read yet: a directory stream takes it although it is older than it should be.
        var isAhead: Bool
    }

    /// What is fresh enough.
    struct Since {
        var fetched: Instant
        /// For stretches that were listed ahead.
        var ahead: Instant

        init(_ fetched: Instant, ahead: Instant? = nil) {
            self.fetched = fetched
            self.ahead = ahead ?? fetched
        }

        func allows(_ stretch: Stretch) -> Bool { stretch.fetched >= (stretch.isAhead ? ahead : fetched) }
    }

    /// Beyond so many, all are forgotten but the newest: lookups of single names would pile up for ever.
    static let limit = 1024

    private(set) var stretches: [Stretch] = []

    var isEmpty: Bool { stretches.isEmpty }
    var memory: Int { stretches.count * 160 }

    /// Adds what a page told. Neighbours of the same age become one.
    mutating func insert(_ new: Stretch) {
        if let upper = new.upper, compare(upper, new.lower) <= 0 { return }
        remove(new.lower, new.upper)
        if stretches.count >= Self.limit { stretches.removeAll() }
        var at = index(from: new.lower)
        var new = new
        if at > 0, stretches[at - 1].upper == new.lower, joins(stretches[at - 1], new) {
            new.lower = stretches[at - 1].lower
            stretches.remove(at: at - 1)
            at -= 1
        }
        if at < stretches.count, let upper = new.upper, stretches[at].lower == upper, joins(stretches[at], new) {
            new.upper = stretches[at].upper
            stretches.remove(at: at)
        }
        stretches.insert(new, at: at)
    }

    private func joins(_ a: Stretch, _ b: Stretch) -> Bool { a.isAhead == b.isAhead && a.fetched == b.fetched }

    /// Forgets [lower, upper).
    mutating func remove(_ lower: [UInt8], _ upper: [UInt8]?) {
        var first = index(from: lower)
        if first > 0, isBefore(lower, stretches[first - 1].upper) { first -= 1 }
        var kept: [Stretch] = []
        var end = first
        while end < stretches.count, isBefore(stretches[end].lower, upper) {
            let old = stretches[end]
            if compare(old.lower, lower) < 0 {
                var left = old
                left.upper = lower
                kept.append(left)
            }
            if let upper, isBefore(upper, old.upper) {
                var right = old
                right.lower = upper
                kept.append(right)
            }
            end += 1
        }
        if end > first { stretches.replaceSubrange(first..<end, with: kept) }
    }

    mutating func removeAll() { stretches = [] }

    /// Somebody read what was listed ahead: from now on it is as old as it is.
    mutating func consumeAhead() {
        for i in stretches.indices { stretches[i].isAhead = false }
    }

    enum Reach: Equatable {
        case none
        case until([UInt8])
        case end
    }

    /// How far everything from `position` on is known without a gap.
    func reach(from position: Bytes, since: Since) -> Reach {
        var i = index(from: position)
        if i < stretches.count, compare(stretches[i].lower, position) == 0 {} else { i -= 1 }
        guard i >= 0, since.allows(stretches[i]) else { return .none }
        guard let first = stretches[i].upper else { return .end }
        guard compare(first, position) > 0 else { return .none }
        var upper = first
        while i + 1 < stretches.count, stretches[i + 1].lower == upper, since.allows(stretches[i + 1]) {
            i += 1
            guard let next = stretches[i].upper else { return .end }
            upper = next
        }
        return .until(upper)
    }

    /// Where the next known stretch starts at or after `position`; nil: none does.
    func nextKnown(from position: [UInt8], since: Since) -> [UInt8]? {
        var i = index(from: position)
        while i < stretches.count {
            if since.allows(stretches[i]) { return stretches[i].lower }
            i += 1
        }
        return nil
    }

    /// The first stretch that starts at or after `position`.
    private func index(from position: [UInt8]) -> Int { position.withUnsafeBytes { index(from: $0) } }
    private func index(from position: Bytes) -> Int {
        var low = 0
        var high = stretches.count
        while low < high {
            let middle = (low + high) / 2
            if compare(stretches[middle].lower, position) < 0 { low = middle + 1 } else { high = middle }
        }
        return low
    }

    private func isBefore(_ position: [UInt8], _ upper: [UInt8]?) -> Bool {
        guard let upper else { return true }
        return compare(position, upper) < 0
    }
}
