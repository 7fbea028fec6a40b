import S3

extension CachedObject {
    /// Starts to fetch what is neither here nor on its way, as requests of at most `partBytes` each, cut at multiples
    /// of it. Stops where memory is short.
    ///
    /// - Returns: The end of what is here or on its way now: `bytes.upperBound` unless memory ran short.
    @discardableResult
    public func prefetch(_ bytes: Range<UInt64>, partBytes: Int, priority: Priority) -> UInt64 {
        let wanted = bytes.clamped(to: 0..<key.size)
        guard !wanted.isEmpty else { return bytes.upperBound }
        let partBlocks = max(1, partBytes / Arena.slotBytes)
        var actions = Actions()
        let end: UInt64 = cache.lock.withLock {
            if isStale { return bytes.upperBound }
            let blocks = CachedObject.blocks(of: wanted)
            var block = blocks.lowerBound
            while block < blocks.upperBound {
                guard case .missing = table[block] else {
                    block += 1
                    continue
                }
                let limit = min(blocks.upperBound, (block / partBlocks + 1) * partBlocks)
                var end = block + 1
                while end < limit, case .missing = table[end] { end += 1 }
                // Whoever waits for memory goes first.
                guard cache.queue.isEmpty,
                    let taken = cache.allocate(end - block, priority == .demand ? .readAhead : priority)
                else {
                    cache.metrics.aheadDenied.add()
                    return self.bytes(of: block..<end).lowerBound
                }
                actions.starts += startFetches(block..<end, slots: taken, priority: priority)
                block = end
            }
            return bytes.upperBound
        }
        cache.perform(actions)
        return end
    }

    /// Nobody reads on here: what is unread may give way at once, and requests for nobody are given up.
    public func abandon(_ bytes: Range<UInt64>) {
        let wanted = bytes.clamped(to: 0..<key.size)
        guard !wanted.isEmpty else { return }
        var actions = Actions()
        cache.lock.withLock {
            abandonFetches(within: CachedObject.blocks(of: wanted), &actions)
            guard blockCount > 0 else { return }
            let seconds = BlockCache.seconds()
            for block in CachedObject.blocks(of: wanted) {
                guard case .present(let slot) = table[block], cache.slots[slot].list == .ahead else { continue }
                cache.slots.leave(slot)
                cache.settle(slot, isUsed: false)
                cache.slots.enter(.consumed, slot, seconds: seconds)
            }
            if !cache.queue.isEmpty { cache.serveQueue(&actions) }
        }
        cache.perform(actions)
    }

    /// Ends one `open`. With the last one, requests that nobody waits for are given up, if the caller wishes it.
    public func release(givesUpRequests: Bool = true) {
        var actions = Actions()
        cache.lock.withLock {
            precondition(openCount > 0, "released more often than opened")
            openCount -= 1
            cache.openCount -= 1
            if openCount == 0 {
                if givesUpRequests { abandonFetches(within: 0..<Int.max, &actions) }
                takeUnusedDiskEntry(&actions)
                removeIfUnused()
            }
        }
        cache.perform(actions)
    }

    /// Makes a fetch of each run of missing blocks, all on disk or all not, which get `slots` in their order. With the
    /// lock held.
    func startFetches(_ blocks: Range<Int>, slots: [UInt32], priority: Priority) -> [Fetch] {
        var started: [Fetch] = []
        var used = 0
        var block = blocks.lowerBound
        while block < blocks.upperBound, used < slots.count {
            guard case .missing = table[block] else {
                block += 1
                continue
            }
            let start = block
            let isOnDisk = disk?.has(start) ?? false
            while block < blocks.upperBound, case .missing = table[block], disk?.has(block) ?? false == isOnDisk {
                let slot = slots[used + block - start]
                table[block] = .fetching(slot)
                cache.slots[slot].owner = Unmanaged.passRetained(self)
                cache.slots[slot].block = UInt32(block)
                block += 1
            }
            let fetch = Fetch(
                self, start..<block, slots: Array(slots[used..<used + block - start]), priority: priority,
                disk: disk, isOnDisk: isOnDisk)
            used += block - start
            fetches.append(fetch)
            started.append(fetch)
        }
        blockCount += used
        cache.fetchingCount += used
        return started
    }

    /// With the lock held.
    private func abandonFetches(within blocks: Range<Int>, _ actions: inout Actions) {
        for fetch in fetches where !fetch.isAbandoned && blocks.contains(fetch.blocks.lowerBound) {
            guard blocks.upperBound >= fetch.blocks.upperBound else { continue }
            guard !waiters.contains(where: { $0.blocks.overlaps(fetch.blocks) }) else { continue }
            guard fetch.isWorthCancelling else {
                // It comes all the same, for nobody in particular.
                for slot in fetch.slots[(fetch.doneEnd - fetch.blocks.lowerBound)...] {
                    cache.settle(slot, isUsed: false)
                }
                continue
            }
            fetch.abandon()
            if let transfer = fetch.transfer { actions.cancels.append(transfer) }
        }
    }
}
