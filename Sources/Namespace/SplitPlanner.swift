/// Decides which LISTs to send for one range of keys: first one page after another, then, when it is long, from several
/// places at once. Knows no store and no clock.
///
/// The rule for cuts: what they are expected to waste (pages that find nothing, or run into what another part lists)
/// stays under a fifth of the pages that are of use.
struct SplitPlanner {
    /// A LIST to send: the first page of a segment, or the one after its last.
    struct Request: Equatable {
        var segment: Int
        var lower: [UInt8]
        var upper: [UInt8]?
        /// Of the page before; nil: start at `lower`.
        var token: String?
    }

    /// A page as it came, in what matters here.
    struct Received {
        /// Keys and prefixes in it, and how many of them lie before the segment's end.
        var count: Int
        var useful: Int
        /// How far it tells all there is; nil: to the end.
        var reached: [UInt8]?
        var token: String?
    }

    enum Fault: Error, Equatable { case repeatedToken, noProgress }

    private struct Segment {
        var id: Int
        var start: Double
        /// All before it is listed.
        var cursor: [UInt8]
        var upper: [UInt8]?
        var token: String?
        var isSent = false
        var isWanted = false
        var pages = 0.0
        var emptyPages = 0
    }

    static let pageSize = 1000.0
    /// A page may be empty though more follows (keys that were deleted), but not for ever.
    static let maxEmptyPages = 100
    /// How many times as far as keys were seen more of them are expected.
    static let trust = 4.0

    private var segments: [Segment]
    private(set) var scale: KeyScale
    private let lanes: Int
    /// The scale's landmarks tell where the keys end.
    private let isEndKnown: Bool
    private var nextID = 1
    private let origin: Double
    private var farthest: Double
    private(set) var sent = 0
    private var inFlight = 0
    private(set) var usefulPages = 0.0
    private var covered = 0.0
    private var expectedPerPlace: Double?

    /// `expectedPages`: of the whole range, where that can be guessed.
    init(lower: [UInt8], upper: [UInt8]?, scale: KeyScale = KeyScale(), lanes: Int, expectedPages: Double? = nil) {
        self.scale = scale
        self.lanes = lanes
        isEndKnown = !scale.landmarks.isEmpty
        origin = lower.withUnsafeBytes { scale.place($0) }
        farthest = origin
        segments = [Segment(id: 0, start: origin, cursor: lower, upper: upper)]
        if let expectedPages, isEndKnown {
            let end = upper.map { $0.withUnsafeBytes { scale.place($0) } } ?? scale.length
            if end > origin { expectedPerPlace = expectedPages / (end - origin) }
        }
    }

    var isDone: Bool { segments.isEmpty }
    var isWaiting: Bool { inFlight > 0 }

    /// Pages that were sent and told nothing new.
    var waste: Double { Double(sent - inFlight) - usefulPages }

    /// What to send now, while no more than `allowance` were sent in all.
    mutating func next(allowance: Int) -> [Request] {
        var out: [Request] = []
        while inFlight < lanes, sent < allowance {
            guard
                let i = segments.firstIndex(where: { !$0.isSent && $0.isWanted })
                    ?? segments.firstIndex(where: { !$0.isSent })
            else {
                if split() { continue }
                break
            }
            segments[i].isSent = true
            segments[i].isWanted = false
            inFlight += 1
            sent += 1
            let segment = segments[i]
            out.append(Request(segment: segment.id, lower: segment.cursor, upper: segment.upper, token: segment.token))
        }
        return out
    }

    /// Takes in the answer to a request. `learn` gets the scale to show it some of the keys.
    mutating func received(_ id: Int, _ page: Received, learn: (inout KeyScale) -> Void) throws(Fault) {
        guard let i = segments.firstIndex(where: { $0.id == id }) else { return }
        inFlight -= 1
        learn(&scale)
        scale.settle()
        segments[i].isSent = false
        if let token = page.token {
            if token == segments[i].token { throw .repeatedToken }
            segments[i].emptyPages = page.useful > 0 ? 0 : segments[i].emptyPages + 1
            if segments[i].emptyPages > Self.maxEmptyPages { throw .noProgress }
        }
        let share = Double(page.useful) / Self.pageSize
        usefulPages += page.token == nil && page.useful > 0 && page.useful == page.count ? 1 : share
        segments[i].pages += share
        let cursor = segments[i].cursor
        guard let reached = page.reached, isBefore(reached, segments[i].upper) else {
            if page.useful > 0 { covered += max(end(segments[i]) - place(cursor), 0) }
            segments.remove(at: i)
            skip(to: page.reached, from: i)
            return
        }
        segments[i].token = page.token
        guard compare(reached, cursor) > 0 else { return }
        segments[i].cursor = reached
        // A place in the old scale may be another in the new one; what was measured is only a guess anyway.
        covered += max(place(reached) - place(cursor), 0)
        farthest = max(farthest, place(reached))
    }

    /// A page told what segments after its own have not asked for yet.
    private mutating func skip(to reached: [UInt8]?, from first: Int) {
        while first < segments.count, !segments[first].isSent {
            guard let reached, isBefore(reached, segments[first].upper) else {
                segments.remove(at: first)
                continue
            }
            if compare(reached, segments[first].cursor) > 0 {
                segments[first].cursor = reached
                segments[first].token = nil
            }
            return
        }
    }

    /// Where a segment ends now; nil inside: at the end of all keys. Nil: there is no such segment.
    func end(of id: Int) -> [UInt8]?? { segments.first { $0.id == id }?.upper }

    /// Whether `position` will be listed.
    func covers(_ position: Bytes) -> Bool { segment(at: position) != nil }

    /// Somebody waits for what is at `position`: it is listed next, from there on if that is far from what is under way.
    mutating func want(_ position: [UInt8]) {
        guard let i = position.withUnsafeBytes({ segment(at: $0) }) else { return }
        let ahead = pages(segments[i], upTo: place(position))
        if ahead < 2 || compare(position, segments[i].cursor) <= 0 || risk + 1 > budget {
            segments[i].isWanted = true
        } else {
            cut(i, at: position)
            segments[i + 1].isWanted = true
        }
    }

    private func segment(at position: Bytes) -> Int? {
        segments.firstIndex { segment in
            compare(segment.cursor, position) <= 0 && (segment.upper.map { compare($0, position) > 0 } ?? true)
        }
    }

    // MARK: Cuts

    /// What the cuts so far cost, and are going to: half a page each where two segments meet.
    private var risk: Double { waste + 0.5 * Double(max(segments.count - 1, 0)) }

    private var budget: Double {
        let rest = segments.reduce(0) { $0 + pages($1, upTo: horizon($1)) }
        return 1.5 + 0.2 * (usefulPages + (isEndKnown ? rest : min(rest, 3 * usefulPages)))
    }

    /// Cuts the segment that has most before it. False: that isn't worth a LIST.
    private mutating func split() -> Bool {
        guard isEndKnown || usefulPages >= 1.9, risk + 1 <= budget else { return false }
        var best: (index: Int, pages: Double)?
        for (i, segment) in segments.enumerated() {
            let pages = pages(segment, upTo: horizon(segment))
            if pages > best?.pages ?? 4 { best = (i, pages) }
        }
        guard let best else { return false }
        let segment = segments[best.index]
        let from = place(segment.cursor)
        let to = horizon(segment)
        // Where keys end isn't known, as far ahead as is trusted; else in the middle.
        let isOpen = to < end(segment)
        var target = isOpen ? to : from + (to - from) / 2
        if isEndKnown, to - from >= 4 { target = target.rounded() }
        guard let key = scale.key(at: target), compare(key, segment.cursor) > 0, isBefore(key, segment.upper) else {
            return false
        }
        cut(best.index, at: key)
        return true
    }

    private mutating func cut(_ i: Int, at position: [UInt8]) {
        segments.insert(
            Segment(id: nextID, start: place(position), cursor: position, upper: segments[i].upper), at: i + 1)
        segments[i].upper = position
        nextID += 1
    }

    private func place(_ position: [UInt8]) -> Double { position.withUnsafeBytes { scale.place($0) } }
    private func end(_ segment: Segment) -> Double { segment.upper.map(place) ?? scale.length }

    /// Up to where more keys are expected in a segment.
    private func horizon(_ segment: Segment) -> Double {
        if isEndKnown || segment.upper != nil { return end(segment) }
        return min(end(segment), origin + Self.trust * (farthest - origin))
    }

    /// Pages expected between a segment's cursor and `place`.
    private func pages(_ segment: Segment, upTo place: Double) -> Double {
        let from = self.place(segment.cursor)
        let overall = covered > 0 && usefulPages > 0 ? usefulPages / covered : expectedPerPlace ?? 0
        let span = from - segment.start
        let own = span > 0 && segment.pages >= 1 ? segment.pages / span : overall
        return max(place - from, 0) * own
    }

    private func isBefore(_ position: [UInt8], _ upper: [UInt8]?) -> Bool {
        guard let upper else { return true }
        return compare(position, upper) < 0
    }
}
