import S3
import Threads

// Slots: who gets them, who holds them, which give way. Everything here is called with the lock held.
extension BlockCache {
    private func supply(_ seconds: UInt32) -> Admission.Supply {
        Admission.Supply(
            free: arena.freeCount, consumed: slots.count(.consumed), used: slots.count(.used),
            ahead: slots.count(.ahead),
            aheadAgeSeconds: slots.oldest(.ahead).map { seconds &- slots[$0].enteredSeconds } ?? 0)
    }

    /// `count` held slots for a fetch, or nil where memory is too short for this priority.
    func allocate(_ count: Int, _ priority: Priority) -> [UInt32]? {
        var supply = supply(Self.seconds())
        guard admission.admits(count, priority, supply) else { return nil }
        var taken: [UInt32] = []
        taken.reserveCapacity(count)
        while taken.count < count {
            if let list = admission.victim(supply) { evictOldest(list) }
            guard let slot = arena.take() else { preconditionFailure("admitted more than there is") }
            slots[slot] = SlotTable.Info()
            slots[slot].isAhead = priority != .demand
            taken.append(slot)
            supply = Admission.Supply(
                free: arena.freeCount, consumed: slots.count(.consumed), used: slots.count(.used),
                ahead: slots.count(.ahead), aheadAgeSeconds: supply.aheadAgeSeconds)
        }
        if priority != .demand { admission.addAhead(count) }
        return taken
    }

    func evictOldest(_ list: SlotTable.List) {
        guard let slot = slots.oldest(list), let owner = slots[slot].owner else {
            preconditionFailure("no slot to evict in \(list)")
        }
        let object = owner.takeUnretainedValue()
        object.table[Int(slots[slot].block)] = .missing
        metrics.evictedBlocks.add()
        settle(slot, isUsed: false)
        release(slot)
        object.dropBlock()
    }

    /// Frees a slot that nobody reads.
    func release(_ slot: UInt32) {
        precondition(slots[slot].pins == 0, "a pinned slot was freed")
        slots.leave(slot)
        settle(slot, isUsed: false)
        let owner = slots[slot].owner
        slots[slot] = SlotTable.Info()
        owner?.release()
        arena.put(slot)
    }

    /// Keeps a slot for a reader who asked for it; the reader's demand turns read-ahead into something used.
    func pin(_ slot: UInt32) {
        if slots[slot].pins == 0 { slots.leave(slot) }
        slots[slot].pins += 1
        pinnedCount += 1
        settle(slot, isUsed: true)
    }

    /// What was read ahead was read, or never will be: it counts as read-ahead no more.
    func settle(_ slot: UInt32, isUsed: Bool) {
        guard slots[slot].isAhead else { return }
        slots[slot].isAhead = false
        admission.addAhead(-1)
        (isUsed ? metrics.aheadUsedBytes : metrics.aheadWastedBytes).add(Arena.slotBytes)
    }

    /// Lets a slot go again. `present`: its block has arrived, so it may be evicted from now on.
    func unpin(_ slot: UInt32, into list: SlotTable.List, isPresent: Bool, seconds: UInt32) {
        slots[slot].pins -= 1
        pinnedCount -= 1
        if slots[slot].pins == 0 && isPresent { slots.enter(list, slot, seconds: seconds) }
    }

    static func seconds() -> UInt32 { UInt32(truncatingIfNeeded: Instant.now.nanoseconds / 1_000_000_000) }
}
