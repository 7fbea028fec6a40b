import Glibc
import S3
import SystemPackage

/// A run of blocks on its way into slots, from S3 or the disk.
///
/// A GET's bytes are copied once, from the transfer's buffer to where they stay, and whoever waits for a block is
/// answered on the transfer's thread as soon as the block is whole.
final class Fetch: GetReceiver, @unchecked Sendable {
    /// What is left of an abandoned GET is fetched all the same when it is less: a cancel costs its connection.
    private static let leaveBytes = 256 << 10

    let object: CachedObject
    let blocks: Range<Int>
    let slots: [UInt32]
    let priority: Priority
    private let bytes: Range<UInt64>
    /// Where whole blocks are written behind, or read from.
    private let disk: DiskEntry?
    private let isOnDisk: Bool

    /// Where the next byte goes. The transfer's thread alone reads and writes it.
    private var position: UInt64

    // Guarded by the cache's lock.
    /// Blocks before this one have arrived.
    private(set) var doneEnd: Int
    private(set) var isAbandoned = false
    private(set) var transfer: (any Transfer)?
    private var isRaised: Bool

    init(
        _ object: CachedObject, _ blocks: Range<Int>, slots: [UInt32], priority: Priority, disk: DiskEntry?,
        isOnDisk: Bool
    ) {
        self.disk = disk
        self.isOnDisk = isOnDisk
        self.object = object
        self.blocks = blocks
        self.slots = slots
        self.priority = priority
        bytes = object.bytes(of: blocks)
        position = bytes.lowerBound
        doneEnd = blocks.lowerBound
        isRaised = priority == .demand
    }

    /// Called without the lock.
    func start() {
        if isOnDisk { readDisk(from: blocks.lowerBound) } else { get() }
    }

    /// Reads from the disk what lies in neighbouring slots, and so on. A block that the disk has lost is asked of S3,
    /// with all that follow.
    private func readDisk(from start: Int) {
        guard let disk else { return get() }
        var end = start + 1
        while end < blocks.upperBound, slots[end - blocks.lowerBound] == slots[end - 1 - blocks.lowerBound] + 1 {
            end += 1
        }
        let run = start..<end
        let buffer = UnsafeMutableRawBufferPointer(
            start: object.cache.arenaBase + Int(slots[start - blocks.lowerBound]) << Arena.slotShift,
            count: run.count << Arena.slotShift)
        if priority == .demand, let isRight = disk.readNow(run, into: buffer) { return tookFromDisk(run, isRight) }
        disk.read(run, into: buffer) { [self] isRight in tookFromDisk(run, isRight) }
    }

    private func tookFromDisk(_ run: Range<Int>, _ isRight: Bool) {
        guard isRight else {
            position = object.bytes(of: run).lowerBound
            return get()
        }
        object.cache.metrics.diskBytes.add(object.bytes(of: run).count)
        position = object.bytes(of: run).upperBound
        object.cache.arrived(self, upTo: run.upperBound)
        if run.upperBound < blocks.upperBound {
            readDisk(from: run.upperBound)
        } else {
            object.cache.ended(self, nil)
        }
    }

    private func get() {
        let cache = object.cache
        let wanted = position..<bytes.upperBound
        cache.metrics.fetchedBytes.add(wanted.count)
        let key = object.key
        let request = GetRequest(
            key: key.key, range: wanted, etag: key.etag, versionID: key.versionID, size: key.size, priority: priority)
        let transfer = object.store.get(request, self)
        // Meanwhile somebody may have come to wait, or everybody may have left.
        let (isRaised, isAbandoned) = cache.lock.withLock {
            self.transfer = transfer
            return (self.isRaised && priority != .demand, self.isAbandoned)
        }
        if isRaised { transfer.raise(to: .demand) }
        if isAbandoned { transfer.cancel() }
    }

    /// Somebody waits for it now; true the first time. With the lock held.
    func raise() -> Bool {
        defer { isRaised = true }
        return !isRaised
    }

    /// With the lock held.
    var isWorthCancelling: Bool {
        object.bytes(of: doneEnd..<blocks.upperBound).count > Fetch.leaveBytes
    }

    /// Nobody wants the rest: its blocks are missing again. Their slots stay held until the transfer has ended, as it
    /// may be writing to them. With the lock held.
    func abandon() {
        isAbandoned = true
        for block in doneEnd..<blocks.upperBound { object.table[block] = .missing }
        object.blockCount -= blocks.upperBound - doneEnd
    }

    func received(_ chunk: UnsafeRawBufferPointer, at offset: UInt64) {
        guard offset == position, UInt64(chunk.count) <= bytes.upperBound - position, var source = chunk.baseAddress
        else {
            assert(chunk.isEmpty, "a transfer delivered bytes that weren't asked for")
            return
        }
        let base = object.cache.arenaBase
        let start = position
        var left = chunk.count
        while left > 0 {
            let block = Int(position >> UInt64(Arena.slotShift))
            let within = Int(position) & (Arena.slotBytes - 1)
            let count = min(Arena.slotBytes - within, left)
            let slot = Int(slots[block - blocks.lowerBound])
            memcpy(base + slot << Arena.slotShift + within, source, count)
            source += count
            position += UInt64(count)
            left -= count
        }
        let end = position == bytes.upperBound ? blocks.upperBound : Int(position >> UInt64(Arena.slotShift))
        let whole = Int(start >> UInt64(Arena.slotShift))..<end
        // Before the blocks are handed over, as they may be evicted from then on.
        if let disk { for block in whole { disk.write(block, content(block)) } }
        if !whole.isEmpty { object.cache.arrived(self, upTo: end) }
    }

    private func content(_ block: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(
            start: object.cache.arenaBase + Int(slots[block - blocks.lowerBound]) << Arena.slotShift,
            count: object.bytes(of: block..<block + 1).count)
    }

    func finished(_ result: Result<ObjectMetadata, S3Error>) {
        var error: S3Error?
        switch result {
        case .failure(let failure): error = failure
        case .success where position < bytes.upperBound: error = .badAnswer("the body ended early")
        case .success: break
        }
        object.cache.ended(self, error)
    }

    /// With the lock held.
    func advance(to end: Int) { doneEnd = end }

    /// Breaks the cycle with the transfer. With the lock held.
    func forgetTransfer() { transfer = nil }
}

extension BlockCache {
    /// Blocks of a fetch before `end` are whole.
    func arrived(_ fetch: Fetch, upTo end: Int) {
        var actions = Actions()
        lock.withLock {
            let new = fetch.doneEnd..<end
            guard !fetch.isAbandoned else { return }
            fetch.advance(to: end)
            fetchingCount -= new.count
            let object = fetch.object
            let seconds = Self.seconds()
            for block in new {
                let slot = fetch.slots[block - fetch.blocks.lowerBound]
                object.table[block] = .present(slot)
                if slots[slot].pins == 0 { slots.enter(slots[slot].isAhead ? .ahead : .used, slot, seconds: seconds) }
            }
            guard !object.waiters.isEmpty else {
                if !queue.isEmpty { serveQueue(&actions) }
                return
            }
            object.waiters.removeAll { read in
                read.missingCount -= read.blocks.clamped(to: new).count
                guard read.missingCount == 0 else { return false }
                makeReady(read, &actions)
                return true
            }
            if !queue.isEmpty { serveQueue(&actions) }
        }
        perform(actions)
    }

    /// The transfer has ended and writes no more.
    func ended(_ fetch: Fetch, _ error: S3Error?) {
        var actions = Actions()
        lock.withLock {
            let object = fetch.object
            let unfinished = fetch.doneEnd..<fetch.blocks.upperBound
            fetch.forgetTransfer()
            object.fetches.removeAll { $0 === fetch }
            if error == .changed || error == .noSuchKey { object.becomeStale(&actions) }
            if !unfinished.isEmpty {
                let errno = (error ?? .badAnswer("")).readErrno
                if !fetch.isAbandoned {
                    failWaiters(of: object, unfinished, errno, &actions)
                    for block in unfinished { object.table[block] = .missing }
                    object.blockCount -= unfinished.count
                }
                fetchingCount -= unfinished.count
                for block in unfinished { release(fetch.slots[block - fetch.blocks.lowerBound]) }
            }
            object.takeUnusedDiskEntry(&actions)
            object.removeIfUnused()
            if !queue.isEmpty { serveQueue(&actions) }
        }
        if let error, error != .cancelled {
            logger.debug(
                "A fetch failed.",
                metadata: ["key": "\(fetch.object.key.key)", "blocks": "\(fetch.blocks)", "error": "\(error)"])
        }
        perform(actions)
    }

    /// Those who wait for these blocks get the error; all others go on.
    private func failWaiters(
        of object: CachedObject, _ blocks: Range<Int>, _ errno: Errno, _ actions: inout Actions
    ) {
        let seconds = Self.seconds()
        object.waiters.removeAll { read in
            guard read.blocks.overlaps(blocks) else { return false }
            for block in read.blocks {
                switch object.table[block] {
                case .present(let slot): unpin(slot, into: .used, isPresent: true, seconds: seconds)
                case .fetching(let slot): unpin(slot, into: .used, isPresent: false, seconds: seconds)
                case .missing: preconditionFailure("a waiting read's block went away")
                }
            }
            actions.failed.append((read, errno))
            return true
        }
    }
}
