import Glibc
import S3
import SystemPackage

/// A GET into slots: bytes are copied once, from the transfer's buffer to where they stay, and whoever waits for a
/// block is answered on the transfer's thread as soon as the block is whole.
final class Fetch: GetReceiver, @unchecked Sendable {
    /// What is left of an abandoned GET is fetched all the same when it is less: a cancel costs its connection.
    private static let leaveBytes: UInt64 = 1 << 20

    let object: CachedObject
    let blocks: Range<Int>
    let slots: [UInt32]
    let priority: Priority
    private let bytes: Range<UInt64>

    /// Where the next byte goes. The transfer's thread alone reads and writes it.
    private var position: UInt64

    // Guarded by the cache's lock.
    /// Blocks before this one have arrived.
    private(set) var doneEnd: Int
    private(set) var isAbandoned = false
    private(set) var transfer: (any Transfer)?
    private var isRaised: Bool

    init(_ object: CachedObject, _ blocks: Range<Int>, slots: [UInt32], priority: Priority) {
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
        let cache = object.cache
        cache.metrics.fetchedBytes.add(bytes.count)
        let key = object.key
        let request = GetRequest(
            key: key.key, range: bytes, etag: key.etag, versionID: key.versionID, size: key.size, priority: priority)
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
        object.bytes(of: doneEnd..<max(doneEnd, blocks.upperBound)).count > Fetch.leaveBytes
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
        if end > doneEnd { object.cache.arrived(self, upTo: end) }
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
