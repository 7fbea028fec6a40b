import S3
import SystemPackage
import Threads

struct LookupKey: Hashable {
    var directory: InodeNumber
    var name: [UInt8]
}

/// One name that S3 is being asked for, however many wait for it. What changes is under the namespace's lock.
final class LookupFlight: @unchecked Sendable {
    let key: LookupKey
    let parent: InodeNumber
    let path: [UInt8]
    /// What the requests tell counts from here on, whatever the time to live.
    let started: Instant
    var waiters: [@Sendable (Result<Attributes, Errno>) -> Void] = []
    /// How often all of it was asked for.
    var tries = 0

    init(_ name: Bytes, _ directory: Directory, started: Instant) {
        key = LookupKey(directory: directory.inode, name: Array(name))
        parent = directory.parent
        path = directory.path
        self.started = started
    }
}

extension Namespace {
    /// So many names of one directory are asked for one by one; then each request brings the page that follows the name.
    static let maxSingleLookups = 3
    /// Of a LIST for one name. "a" is followed by "a.txt" and the like before "a/" comes.
    static let singleLookupKeys = 16
    private static let maxTries = 3
    private static let anyAge = KnownRanges.Since(Instant(nanoseconds: 0))

    /// Finds `name` in a directory and adds 1 to the inode's lookup count on success. `done` runs before the call
    /// returns where the answer is known, else on a transfer thread.
    public func lookup(
        _ name: UnsafeRawBufferPointer, in parent: InodeNumber,
        _ done: @escaping @Sendable (Result<Attributes, Errno>) -> Void
    ) {
        if name.count > EntryName.maxCount { return done(.failure(.fileNameTooLong)) }
        if EntryName.fault(name) != nil { return done(.failure(.noSuchFileOrDirectory)) }
        lock.lock()
        guard let directory = table.directory(parent) else {
            let isFile = table.entry(parent) != nil
            lock.unlock()
            return done(.failure(isFile ? .notDirectory : .staleNFSFileHandle))
        }
        let now = clock()
        if let result = settle(name, directory, since(policy.ttlMs, now), since(policy.negativeTTLMs, now)) {
            table.touch(directory)
            let renew = renewal(of: directory, now)
            lock.unlock()
            renew?()
            if case .success = result { metrics.hits.add() } else { metrics.negativeHits.add() }
            tellJournal()
            return done(result)
        }
        metrics.misses.add()
        let flight = LookupFlight(name, directory, started: stamp(now))
        if let underWay = lookups[flight.key] {
            underWay.waiters.append(done)
            return lock.unlock()
        }
        flight.waiters = [done]
        lookups[flight.key] = flight
        directory.singleLookups += 1
        let isPaged = directory.singleLookups > Self.maxSingleLookups
        // What was known of all of it tells that one page may tell it again.
        let isWhole =
            isPaged && directory.ranges.reach(from: Bytes(start: nil, count: 0), since: Self.anyAge) == .end
            && isSmall(directory)
        lock.unlock()
        metrics.listsForLookup.add()
        if isWhole {
            askForPage(flight, after: [])
        } else if isPaged, let position = Position.startAfter(flight.key.name) {
            askForPage(flight, after: position)
        } else {
            askForName(flight)
        }
    }

    /// The answer as far as it is known, counted as a lookup; nil: S3 must be asked.
    private func settle(
        _ name: Bytes, _ directory: Directory, _ since: Instant, _ negativeSince: Instant
    ) -> Result<Attributes, Errno>? {
        switch find(name, directory, since, negativeSince) {
        case .unknown: return nil
        case .absent: return .failure(.noSuchFileOrDirectory)
        case .entry(let block, let i):
            let inode = block.inode(i)
            guard table.addLookup(block, i, inode) else { return .failure(.ioError) }
            return .success(attributes(block, i, inode))
        }
    }

    private enum Finding {
        case unknown
        case absent
        case entry(Block, Int)
    }

    /// A directory hides a file of the same name, so a file is found only where it is known that there is none.
    private func find(_ name: Bytes, _ directory: Directory, _ since: Instant, _ negativeSince: Instant) -> Finding {
        withRaw(name) { raw in
            if let (block, i) = directory.find(raw) {
                let isFresh =
                    directory.ranges.reach(from: raw, since: .init(since)) != .none
                    || isListed(block.inode(i), since)
                return isFresh ? .entry(block, i) : .unknown
            }
            let file = directory.find(name)
            let since = KnownRanges.Since(file == nil ? max(negativeSince, believed(directory)) : since)
            // Nearly always both places lie in one stretch.
            let reach = directory.ranges.reach(from: name, since: since)
            guard reach != .none else { return .unknown }
            if !directory.knows(name, reach),
                !directory.knows(name, directory.ranges.reach(from: raw, since: since))
            {
                return .unknown
            }
            return file.map { .entry($0.block, $0.index) } ?? .absent
        }
    }

    /// Before this, that a name was not there tells nothing: what was listed before the mount was there, somebody may
    /// have waited for the mount to add to.
    private func believed(_ directory: Directory) -> Instant {
        guard directory.inode == rootInode, let begun else { return Instant(nanoseconds: 0) }
        return Instant(nanoseconds: begun.nanoseconds + 1)
    }

    /// Whether something was seen in a directory itself, by a crawl that its reader follows too.
    private func isListed(_ inode: InodeNumber, _ since: Instant) -> Bool {
        guard let directory = table.directories[inode] else { return false }
        if directory.existed >= since { return true }
        let ahead = self.since(Self.crawlAheadMs, clock())
        return directory.ranges.stretches.contains { $0.isAhead && $0.fetched >= ahead } && !directory.blocks.isEmpty
    }

    // MARK: Requests

    /// One request tells of the file, and mostly of the directory too.
    private func askForName(_ flight: LookupFlight) {
        let prefix = flight.path + flight.key.name
        store.list(
            ListRequest(prefix: ObjectKey(prefix), delimiter: slash, maxKeys: Self.singleLookupKeys)
        ) { [self] result in
            take(flight, result, lower: flight.key.name, end: flight.key.name.withUnsafeBytes { Position.afterAll($0) })
        }
    }

    /// The name and the thousand that follow it, as others will be asked for.
    private func askForPage(_ flight: LookupFlight, after position: [UInt8]) {
        store.list(
            ListRequest(
                prefix: ObjectKey(flight.path), delimiter: slash,
                startAfter: position.isEmpty ? nil : ObjectKey(flight.path + position))
        ) { [self] result in
            take(
                flight, result, lower: position.isEmpty ? [] : position.withUnsafeBytes { Position.after($0) },
                end: nil)
        }
    }

    private func take(_ flight: LookupFlight, _ result: Result<ListPage, S3Error>, lower: [UInt8], end: [UInt8]?) {
        switch result {
        case .failure(.denied):
            // Who may not list may still read.
            metrics.headsForLookup.add()
            store.head(ObjectKey(flight.path + flight.key.name)) { [self] in takeHead(flight, $0) }
        case .failure(let error):
            report(error, "Looking a name up", flight.path + flight.key.name)
            finish(flight, error.errno)
        case .success(let page):
            lock.lock()
            let directory = table.directory(flight.key.directory, parent: flight.parent, path: flight.path)
            if let fault = read(page, directory, sent: flight.started, lower: lower, end: end) {
                lock.unlock()
                report(.badAnswer(fault.reason), "Looking a name up", flight.path + flight.key.name)
                return finish(flight, .ioError)
            }
            let answers = isSettled(flight, directory) ? settleAll(flight, directory) : nil
            lock.unlock()
            if let answers { deliver(answers) } else { askForDirectory(flight) }
        }
    }

    /// Takes in a page of the directory from `lower` on. `end`: where it ends if no other follows; nil: with the
    /// directory. With the lock held.
    func read(_ page: ListPage, _ directory: Directory, sent: Instant, lower: [UInt8], end: [UInt8]?) -> PageFault? {
        do throws(PageFault) {
            let checked = try Page(
                page, prefix: directory.path, isDelimited: true,
                isWhole: page.nextToken == nil && (end != nil || lower.isEmpty))
            var reader = PageReader(table: table, fetched: sent, isAhead: false)
            let upper = page.nextToken == nil ? end : checked.upper(directory.path.count)
            reader.read(checked, into: directory, lower: lower, upper: upper)
            metrics.entries.add(reader.entries)
            note(hidden: reader.hidden)
            return nil
        } catch {
            return error
        }
    }

    /// Many names lie between "a" and "a/": one more request tells of the latter.
    private func askForDirectory(_ flight: LookupFlight) {
        let raw = flight.key.name + [slash]
        metrics.listsForLookup.add()
        store.list(ListRequest(prefix: ObjectKey(flight.path + raw), maxKeys: 1)) { [self] result in
            guard case .success(let page) = result else {
                guard case .failure(let error) = result else { return }
                report(error, "Looking a name up", flight.path + raw)
                return finish(flight, error.errno)
            }
            lock.lock()
            let directory = table.directory(flight.key.directory, parent: flight.parent, path: flight.path)
            note(flight, isDirectory: !page.objects.isEmpty, directory)
            let isKnown = isSettled(flight, directory)
            flight.tries += 1
            let isLost = !isKnown && flight.tries < Self.maxTries
            let answers = isLost ? [] : settleAll(flight, directory)
            lock.unlock()
            // An older answer to somebody else came between the two.
            if isLost { askForName(flight) } else { deliver(answers) }
        }
    }

    private func note(_ flight: LookupFlight, isDirectory: Bool, _ directory: Directory) {
        let raw = flight.key.name + [slash]
        raw.withUnsafeBytes { bytes in
            let upper = Position.afterAll(bytes)
            table.apply(isDirectory ? [ListedEntry(raw: bytes)] : [], to: directory, lower: raw, upper: upper)
            table.changeRanges(directory) {
                $0.insert(.init(lower: raw, upper: upper, fetched: flight.started, isAhead: false))
            }
        }
    }

    private func takeHead(_ flight: LookupFlight, _ result: Result<ObjectMetadata, S3Error>) {
        switch result {
        case .failure(let error): finish(flight, error.errno)
        case .success(let metadata):
            let answers = lock.withLock {
                let directory = table.directory(flight.key.directory, parent: flight.parent, path: flight.path)
                note(metadata, flight.key.name, directory, fetched: flight.started)
                // Without the right to list nothing tells whether there is a directory too.
                note(flight, isDirectory: false, directory)
                return settleAll(flight, directory)
            }
            deliver(answers)
        }
    }

    private func isSettled(_ flight: LookupFlight, _ directory: Directory) -> Bool {
        let finding = flight.key.name.withUnsafeBytes { find($0, directory, flight.started, flight.started) }
        if case .unknown = finding { return false }
        return true
    }

    private typealias Answer = (
        waiter: @Sendable (Result<Attributes, Errno>) -> Void, result: Result<Attributes, Errno>
    )

    /// Ends the flight: answers all who wait with what the table says now. With the lock held since that was read, as
    /// another answer, to an older request, can make it too old at any moment.
    private func settleAll(_ flight: LookupFlight, _ directory: Directory) -> [Answer] {
        lookups[flight.key] = nil
        let answers: [Answer] = flight.waiters.map { waiter in
            let known = flight.key.name.withUnsafeBytes { settle($0, directory, flight.started, flight.started) }
            return (waiter, known ?? .failure(.ioError))
        }
        table.trim()
        return answers
    }

    private func deliver(_ answers: [Answer]) {
        tellJournal()
        for answer in answers { answer.waiter(answer.result) }
    }

    /// Ends the flight with an error for all who wait.
    private func finish(_ flight: LookupFlight, _ failure: Errno) {
        let waiters = lock.withLock {
            lookups[flight.key] = nil
            return flight.waiters
        }
        for waiter in waiters { waiter(.failure(failure)) }
    }
}
