import Glibc
import S3
import SystemPackage

extension CachedObject {
    public enum ReadOutcome: Sendable { case answered, waiting }

    /// Reads bytes, which lie within the object. A hit is answered before the call returns, without an allocation.
    ///
    /// `isSequential`: the reader reads on from here, so these bytes may give way first.
    @discardableResult
    public func read(_ bytes: Range<UInt64>, isSequential: Bool, _ reply: any ReadReply) -> ReadOutcome {
        precondition(bytes.upperBound <= key.size, "read beyond the object's end")
        guard !bytes.isEmpty else {
            reply.data(UnsafeBufferPointer(start: nil, count: 0))
            return .answered
        }
        let blocks = CachedObject.blocks(of: bytes)
        guard blocks.count <= cache.largestReadBlocks else {
            reply.failed(.invalidArgument)
            return .answered
        }
        let isHit = withUnsafeTemporaryAllocation(of: UInt32.self, capacity: blocks.count) { found in
            guard pinIfPresent(blocks, found.baseAddress!) else { return false }
            let slots = UnsafeBufferPointer(found)
            reply.data(
                slots: slots, base: cache.arenaBase, offset: Int(bytes.lowerBound) & (Arena.slotBytes - 1),
                count: bytes.count)
            unpin(slots, bytes, isSequential: isSequential)
            return true
        }
        if isHit {
            cache.metrics.hits.add()
            cache.metrics.hitBytes.add(bytes.count)
            return .answered
        }
        cache.metrics.misses.add()
        cache.metrics.missBytes.add(bytes.count)
        var actions = Actions()
        let read = PendingRead(self, bytes, isSequential: isSequential, reply: reply)
        cache.lock.withLock { cache.admit(read, &actions) }
        cache.perform(actions)
        return .waiting
    }

    private func pinIfPresent(_ blocks: Range<Int>, _ found: UnsafeMutablePointer<UInt32>) -> Bool {
        cache.lock.lock()
        defer { cache.lock.unlock() }
        if isStale { return false }
        for (i, block) in blocks.enumerated() {
            guard case .present(let slot) = table[block] else { return false }
            found[i] = slot
        }
        for i in 0..<blocks.count { cache.pin(found[i]) }
        return true
    }

    private func unpin(_ slots: UnsafeBufferPointer<UInt32>, _ bytes: Range<UInt64>, isSequential: Bool) {
        var actions = Actions()
        cache.lock.lock()
        cache.unpin(slots, bytes, isSequential: isSequential)
        if !cache.queue.isEmpty { cache.serveQueue(&actions) }
        cache.lock.unlock()
        if !actions.isEmpty { cache.perform(actions) }
    }
}

// Reads that can't be answered at once. `admit`, `serveQueue`, `complete` and `fail` are called with the lock held.
extension BlockCache {
    /// Starts a read, or queues it until there is memory.
    func admit(_ read: PendingRead, _ actions: inout Actions) {
        if read.object.isStale {
            actions.failed.append((read, .staleNFSFileHandle))
        } else if !queue.isEmpty || !begin(read, &actions) {
            metrics.queuedReads.add()
            queue.append(read)
        }
    }

    func serveQueue(_ actions: inout Actions) {
        var served = 0
        while served < queue.count {
            let read = queue[served]
            if read.object.isStale {
                actions.failed.append((read, .staleNFSFileHandle))
            } else if !begin(read, &actions) {
                break
            }
            served += 1
        }
        queue.removeFirst(served)
    }

    /// Pins what is there or on its way and fetches the rest; false where there is no memory for it.
    private func begin(_ read: PendingRead, _ actions: inout Actions) -> Bool {
        let object = read.object
        // Pinned first, so that the allocation doesn't evict them.
        var missing = 0
        for block in read.blocks {
            switch object.table[block] {
            case .missing: missing += 1
            case .present(let slot): pin(slot)
            case .fetching(let slot):
                read.missingCount += 1
                pin(slot)
                if let fetch = object.fetch(writing: block), fetch.raise(), let transfer = fetch.transfer {
                    actions.raises.append(transfer)
                }
            }
        }
        if missing > 0 {
            guard let taken = allocate(missing, .demand) else {
                undo(read)
                return false
            }
            read.missingCount += missing
            for fetch in object.startFetches(read.blocks, slots: taken, priority: .demand) {
                for slot in fetch.slots { pin(slot) }
                actions.starts.append(fetch)
            }
        }
        if read.missingCount == 0 {
            makeReady(read, &actions)
        } else {
            object.waiters.append(read)
        }
        return true
    }

    private func undo(_ read: PendingRead) {
        read.missingCount = 0
        let seconds = Self.seconds()
        for block in read.blocks {
            switch read.object.table[block] {
            case .missing: break
            case .present(let slot): unpin(slot, into: .used, isPresent: true, seconds: seconds)
            case .fetching(let slot): unpin(slot, into: .used, isPresent: false, seconds: seconds)
            }
        }
    }

    func makeReady(_ read: PendingRead, _ actions: inout Actions) {
        read.slots = read.blocks.map { block in
            guard case .present(let slot) = read.object.table[block] else {
                preconditionFailure("a pinned block went away")
            }
            return slot
        }
        actions.ready.append(read)
    }

    /// Lets the slots of an answered read go, into the list that says how soon they may be wanted again.
    func unpin(_ pinned: UnsafeBufferPointer<UInt32>, _ bytes: Range<UInt64>, isSequential: Bool) {
        let seconds = Self.seconds()
        for (i, slot) in pinned.enumerated() {
            // A sequential reader comes back for the rest of its last block.
            let isReadToItsEnd = i < pinned.count - 1 || bytes.upperBound & UInt64(Arena.slotBytes - 1) == 0
            unpin(slot, into: isSequential && isReadToItsEnd ? .consumed : .used, isPresent: true, seconds: seconds)
        }
    }

    /// Does what was decided under the lock; called without it.
    func perform(_ actions: Actions) {
        var actions = actions
        while true {
            for fetch in actions.starts { fetch.start() }
            for transfer in actions.raises { transfer.raise(to: .demand) }
            for transfer in actions.cancels { transfer.cancel() }
            for entry in actions.closings { entry.release() }
            for observer in actions.stale { observer.objectBecameStale() }
            for (read, errno) in actions.failed {
                metrics.failedReads.add()
                read.reply.failed(errno)
            }
            var next = Actions()
            for read in actions.ready {
                read.slots.withUnsafeBufferPointer { slots in
                    read.reply.data(
                        slots: slots, base: arenaBase, offset: Int(read.bytes.lowerBound) & (Arena.slotBytes - 1),
                        count: read.bytes.count)
                    lock.withLock {
                        unpin(slots, read.bytes, isSequential: read.isSequential)
                        if !queue.isEmpty { serveQueue(&next) }
                    }
                }
            }
            if next.isEmpty { return }
            actions = next
        }
    }
}
