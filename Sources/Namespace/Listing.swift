import S3
import SystemPackage
import Threads

/// A listing under way: of one directory, or flat of all that is below one. Under the namespace's lock.
final class Listing: @unchecked Sendable {
    typealias Waiter = @Sendable (Errno?) -> Void

    struct Waiting {
        var directory: InodeNumber
        var position: [UInt8]
        var since: KnownRanges.Since
        var waiter: Waiter
    }

    let directory: InodeNumber
    let parent: InodeNumber
    let path: [UInt8]
    let isFlat: Bool
    /// The age of the pages that it sends for now: one for many pages, so that they join.
    private(set) var stamp: Instant
    private let stampMs: Int
    var planner: SplitPlanner
    /// LISTs that may be sent in all: grows as readers come to need them, as read-ahead does.
    var allowance: Int
    var waiting: [Waiting] = []
    var lastActivity: Instant
    /// The namespace's count of entries that were read, when this began.
    let emittedBefore: Int
    var listed = 0
    var isEnded = false

    /// LISTs at a time.
    static let lanes = 16
    /// A page and the one after it.
    static let firstAllowance = 2
    /// Three directories were listed one after the other already.
    static let firstCrawlAllowance = 24
    /// A token may not live for ever; after this a new listing begins.
    static let maxIdleMs = 30_000.0

    init(
        _ directory: Directory, isFlat: Bool, planner: SplitPlanner, started: Instant, stamp: Instant, stampMs: Int,
        emittedBefore: Int
    ) {
        self.directory = directory.inode
        parent = directory.parent
        path = directory.path
        self.isFlat = isFlat
        self.planner = planner
        self.stamp = stamp
        self.stampMs = stampMs
        lastActivity = started
        self.emittedBefore = emittedBefore
        allowance = isFlat ? Self.firstCrawlAllowance : Self.firstAllowance
    }

    /// Makes the pages from now on younger, once those before are `stampMs` old.
    func renew(_ now: Instant) {
        if stamp.advanced(byMs: stampMs) < now { stamp = now }
    }

    /// `position` in `directory` as this listing's keys have it; nil: it lists something else.
    func relative(_ position: [UInt8], in directory: Directory) -> [UInt8]? {
        guard isFlat else { return directory.inode == self.directory ? position : nil }
        return directory.path.starts(with: path) ? directory.path[path.count...] + position : nil
    }

    /// Whether it is going to list `position` so that it is fresh enough.
    func serves(_ position: [UInt8], since: KnownRanges.Since, now: Instant) -> Bool {
        stamp >= (isFlat ? since.ahead : since.fetched) && now.ms(since: lastActivity) <= Self.maxIdleMs
            && position.withUnsafeBytes { planner.covers($0) }
    }
}

/// What is to be done once the lock is released.
typealias Actions = [() -> Void]

extension Namespace {
    /// How much older than its time to live a listing may be that a crawl made ahead of its reader.
    static let crawlAheadMs = 60_000

    /// Calls `waiter` when what is at `position` of a directory is known, or can't be. Called with the lock held.
    func request(
        _ directory: Directory, _ position: [UInt8], since: KnownRanges.Since, _ waiter: @escaping Listing.Waiter
    ) -> Actions {
        let now = clock()
        let waiting = Listing.Waiting(directory: directory.inode, position: position, since: since, waiter: waiter)
        for listing in listings {
            guard let relative = listing.relative(position, in: directory),
                listing.serves(relative, since: since, now: now)
            else { continue }
            if listing.isFlat, isWasted(listing) {
                detector.ban(listing.directory, now: now)
                return end(listing, failure: nil) + request(directory, position, since: since, waiter)
            }
            listing.waiting.append(waiting)
            listing.planner.want(relative)
            grow(listing, isStalled: true)
            return pump(listing, now)
        }
        let listing = crawl(directory, position, since, now) ?? list(directory, position, since, now)
        retire(now)
        listings.append(listing)
        listing.waiting.append(waiting)
        return pump(listing, now)
    }

    private func list(
        _ directory: Directory, _ position: [UInt8], _ since: KnownRanges.Since, _ now: Instant
    ) -> Listing {
        let upper = directory.ranges.nextKnown(from: position, since: since)
        let planner = SplitPlanner(lower: position, upper: upper, lanes: Listing.lanes)
        directory.singleLookups = 0
        return make(directory, isFlat: false, planner, now)
    }

    private func grow(_ listing: Listing, isStalled: Bool) {
        let read = (emitted - listing.emittedBefore) / Int(SplitPlanner.pageSize)
        var wanted = 2 + 4 * read
        if isStalled { wanted = max(wanted, listing.allowance * 2) }
        // Pages that nobody reads yet may not push each other out of memory.
        let limit = read + table.maxBytes / 4 / 100_000
        listing.allowance = max(listing.allowance, min(wanted, limit))
        // Whoever waits is served all the same.
        if let first = listing.waiting.first, !listing.planner.isWaiting, listing.allowance <= listing.planner.sent {
            listing.allowance = listing.planner.sent + 1
            if let directory = table.directories[first.directory],
                let position = listing.relative(first.position, in: directory)
            {
                listing.planner.want(position)
            }
        }
    }

    /// Listings that nobody went on with.
    private func retire(_ now: Instant) {
        listings.removeAll {
            $0.waiting.isEmpty && !$0.planner.isWaiting && now.ms(since: $0.lastActivity) > Listing.maxIdleMs
        }
        if listings.count >= 256, let idle = listings.firstIndex(where: { $0.waiting.isEmpty && !$0.planner.isWaiting })
        {
            listings.remove(at: idle)
        }
    }

    // MARK: Requests

    private func pump(_ listing: Listing, _ now: Instant) -> Actions {
        guard !listing.isEnded else { return [] }
        listing.renew(stamp(now))
        let stamp = listing.stamp
        return listing.planner.next(allowance: listing.allowance).map { request in
            (listing.isFlat ? metrics.listsForCrawl : metrics.listsForDirectory).add()
            return { [self] in
                store.list(
                    ListRequest(
                        prefix: ObjectKey(listing.path), delimiter: listing.isFlat ? nil : slash,
                        startAfter: Position.startAfter(request.lower).map { ObjectKey(listing.path + $0) },
                        continuationToken: request.token)
                ) { [self] result in take(listing, request, result, sent: stamp) }
            }
        }
    }

    private func take(
        _ listing: Listing, _ request: SplitPlanner.Request, _ result: Result<ListPage, S3Error>, sent: Instant
    ) {
        lock.lock()
        guard !listing.isEnded else { return lock.unlock() }
        var actions: Actions
        switch result {
        case .failure(let error):
            report(error, listing.isFlat ? "Listing ahead" : "Listing", listing.path)
            actions = fail(listing, error.errno)
        case .success(let page):
            if let fault = read(page, listing, request, sent: sent) {
                report(.badAnswer(fault.reason), "Listing", listing.path)
                actions = fail(listing, .ioError)
            } else {
                let now = clock()
                listing.lastActivity = now
                actions = answer(listing)
                grow(listing, isStalled: false)
                actions += listing.planner.isDone ? end(listing, failure: nil) : pump(listing, now)
            }
        }
        table.trim()
        lock.unlock()
        for action in actions { action() }
    }

    private func read(
        _ page: ListPage, _ listing: Listing, _ request: SplitPlanner.Request, sent: Instant
    ) -> PageFault? {
        do throws(PageFault) {
            let isWhole = page.nextToken == nil && request.token == nil && request.lower.isEmpty
            let checked = try Page(page, prefix: listing.path, isDelimited: !listing.isFlat, isWhole: isWhole)
            let directory = table.directory(listing.directory, parent: listing.parent, path: listing.path)
            var upper = checked.upper(listing.path.count)
            // Nothing came, though more follows.
            if page.nextToken != nil, checked.items.isEmpty { upper = request.lower }
            if upper == nil || compare(upper!, request.lower) > 0 {
                var reader = PageReader(table: table, fetched: sent, isAhead: listing.isFlat)
                if listing.isFlat {
                    reader.readFlat(checked, below: directory, lower: request.lower, upper: upper)
                } else {
                    reader.read(checked, into: directory, lower: request.lower, upper: upper)
                }
                note(hidden: reader.hidden)
                metrics.entries.add(checked.items.count)
            }
            listing.listed += checked.items.count
            try advance(listing, request, checked, upper)
            return nil
        } catch {
            return error
        }
    }

    private func advance(
        _ listing: Listing, _ request: SplitPlanner.Request, _ page: Page, _ upper: [UInt8]?
    ) throws(PageFault) {
        let prefixCount = listing.path.count
        let fault: SplitPlanner.Fault? = page.source.bytes.withUnsafeBytes { bytes in
            let key = { (i: Int) in
                bytes.slice(page.items[i].key.lowerBound + prefixCount..<page.items[i].key.upperBound)
            }
            let end = listing.planner.end(of: request.segment) ?? nil
            var useful = page.items.count
            while useful > 0, let end, compare(end, key(useful - 1)) <= 0 { useful -= 1 }
            // Those at or before where the segment goes on were listed before.
            var old = 0
            while old < useful, compare(request.lower, key(old)) > 0 { old += 1 }
            let received = SplitPlanner.Received(
                count: page.items.count, useful: useful - old, reached: upper, token: page.source.nextToken)
            do throws(SplitPlanner.Fault) {
                try listing.planner.received(request.segment, received) { scale in
                    for i in stride(from: 0, to: page.items.count, by: 8) { scale.learn(key(i)) }
                    if page.items.count > 1 { scale.learn(key(page.items.count - 1)) }
                }
                return nil
            } catch {
                return error
            }
        }
        switch fault {
        case .repeatedToken: throw PageFault("a continuation token comes twice")
        case .noProgress: throw PageFault("page after page brings nothing new")
        case nil: break
        }
    }

    /// Those whose wait is over.
    private func answer(_ listing: Listing) -> Actions {
        var actions: Actions = []
        listing.waiting.removeAll { waiting in
            guard let directory = table.directories[waiting.directory] else { return false }
            let reach = waiting.position.withUnsafeBytes { directory.ranges.reach(from: $0, since: waiting.since) }
            guard reach != .none else { return false }
            actions.append { waiting.waiter(nil) }
            return true
        }
        return actions
    }

    /// A crawl is only a guess: when it fails, its readers list for themselves.
    private func fail(_ listing: Listing, _ errno: Errno) -> Actions {
        if listing.isFlat { detector.ban(listing.directory, now: clock()) }
        return end(listing, failure: listing.isFlat ? nil : errno)
    }

    private func end(_ listing: Listing, failure: Errno?) -> Actions {
        listing.isEnded = true
        listings.removeAll { $0 === listing }
        let waiting = listing.waiting
        listing.waiting = []
        return waiting.map { waiting in { waiting.waiter(failure) } }
    }
}
