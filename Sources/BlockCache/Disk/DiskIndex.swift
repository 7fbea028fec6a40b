/// The files of the cache in order of their last use, those of each dataset in a list of their own: 56 bytes each and a
/// table to find them. No I/O, no lock.
struct DiskIndex {
    private struct Slot {
        var digest: DiskDigest
        /// Grows from use to use; what an earlier run left is below zero.
        var lastUse: Int64
        /// Room on disk in units of 4 KiB: 16 TiB fit.
        var units: UInt32
        var newer: UInt32
        /// Links the free slots too.
        var older: UInt32
        var dataset: DatasetNumber
    }
    private struct List {
        var newest = none
        var oldest = none
        var count = 0
        var units: UInt64 = 0
    }
    private static let none = UInt32.max
    private static let unit: UInt64 = 4096

    private var slots: [Slot] = []
    private var firstFree = Self.none
    /// Open addressing, linear probing, at most half full; its size is a power of two.
    private var table: [UInt32] = Array(repeating: Self.none, count: 64)
    private var lists: [List] = [List()]
    private var newestUse: Int64 = 0
    private var oldestUse: Int64 = 0
    private(set) var count = 0
    private var units: UInt64 = 0

    /// Room on disk of all files, in bytes.
    var bytes: UInt64 { units * Self.unit }

    /// Room on disk of a dataset's files, in bytes, and how many there are.
    func usage(of dataset: DatasetNumber) -> (bytes: UInt64, objects: Int) {
        guard Int(dataset) < lists.count else { return (0, 0) }
        return (lists[Int(dataset)].units * Self.unit, lists[Int(dataset)].count)
    }

    func contains(_ digest: DiskDigest) -> Bool { table[position(of: digest)] != Self.none }

    /// Whose file it is; nil where it isn't known.
    func dataset(of digest: DiskDigest) -> DatasetNumber? {
        let slot = table[position(of: digest)]
        return slot == Self.none ? nil : slots[Int(slot)].dataset
    }

    /// Makes it the newest. False where it isn't known.
    mutating func touch(_ digest: DiskDigest) -> Bool {
        let slot = table[position(of: digest)]
        guard slot != Self.none else { return false }
        unlink(slot)
        linkNewest(slot)
        return true
    }

    /// Notes the file's room on disk, in bytes; a new file becomes the newest, or the oldest where `asOldest`, of its
    /// dataset.
    mutating func set(
        _ digest: DiskDigest, bytes: UInt64, of dataset: DatasetNumber = DiskDatasets.nobody, asOldest: Bool = false
    ) {
        let size = UInt32(clamping: (bytes + Self.unit - 1) / Self.unit)
        let found = table[position(of: digest)]
        if found != Self.none {
            count(slots[Int(found)], -1)
            slots[Int(found)].units = size
            count(slots[Int(found)], 1)
            return
        }
        if (count + 1) * 2 > table.count { grow() }
        while lists.count <= Int(dataset) { lists.append(List()) }
        let new = Slot(
            digest: digest, lastUse: 0, units: size, newer: Self.none, older: Self.none, dataset: dataset)
        let slot = takeSlot(new)
        table[position(of: digest)] = slot
        if asOldest { linkOldest(slot) } else { linkNewest(slot) }
        count(new, 1)
    }

    /// Gives the file to another dataset, as its newest.
    mutating func move(_ digest: DiskDigest, to dataset: DatasetNumber) {
        let slot = table[position(of: digest)]
        guard slot != Self.none else { return }
        while lists.count <= Int(dataset) { lists.append(List()) }
        unlink(slot)
        count(slots[Int(slot)], -1)
        slots[Int(slot)].dataset = dataset
        count(slots[Int(slot)], 1)
        linkNewest(slot)
    }

    /// Forgets the file and answers its room on disk, in bytes; nil where it isn't known.
    @discardableResult
    mutating func remove(_ digest: DiskDigest) -> UInt64? {
        let at = position(of: digest)
        let slot = table[at]
        guard slot != Self.none else { return nil }
        close(gap: at)
        unlink(slot)
        count(slots[Int(slot)], -1)
        slots[Int(slot)].older = firstFree
        firstFree = slot
        return UInt64(slots[Int(slot)].units) * Self.unit
    }

    /// The file whose last use is longest ago, of those of `datasets` (nil: of all) that `isWanted`.
    func oldest(of datasets: [DatasetNumber]? = nil, where isWanted: (DiskDigest) -> Bool) -> DiskDigest? {
        var found: Slot?
        for dataset in datasets?.map(Int.init) ?? Array(lists.indices) where dataset < lists.count {
            var slot = lists[dataset].oldest
            while slot != Self.none, !isWanted(slots[Int(slot)].digest) { slot = slots[Int(slot)].newer }
            guard slot != Self.none, slots[Int(slot)].lastUse < found?.lastUse ?? .max else { continue }
            found = slots[Int(slot)]
        }
        return found?.digest
    }

    private mutating func count(_ slot: Slot, _ change: Int) {
        count += change
        lists[Int(slot.dataset)].count += change
        if change > 0 {
            units += UInt64(slot.units)
            lists[Int(slot.dataset)].units += UInt64(slot.units)
        } else {
            units -= UInt64(slot.units)
            lists[Int(slot.dataset)].units -= UInt64(slot.units)
        }
    }

    // MARK: the table

    private func home(_ digest: DiskDigest) -> Int { Int(truncatingIfNeeded: digest.a) & (table.count - 1) }

    /// Where the table has the digest, else the empty place where it belongs.
    private func position(of digest: DiskDigest) -> Int {
        var at = home(digest)
        while table[at] != Self.none, slots[Int(table[at])].digest != digest { at = (at + 1) & (table.count - 1) }
        return at
    }

    /// Moves back what was pushed past the place that becomes empty, so that probes need no tombstones.
    private mutating func close(gap: Int) {
        let mask = table.count - 1
        var gap = gap
        var at = (gap + 1) & mask
        while table[at] != Self.none {
            let distance = (at - home(slots[Int(table[at])].digest)) & mask
            if distance >= (at - gap) & mask {
                table[gap] = table[at]
                gap = at
            }
            at = (at + 1) & mask
        }
        table[gap] = Self.none
    }

    private mutating func grow() {
        table = Array(repeating: Self.none, count: table.count * 2)
        for list in lists {
            var slot = list.oldest
            while slot != Self.none {
                table[position(of: slots[Int(slot)].digest)] = slot
                slot = slots[Int(slot)].newer
            }
        }
    }

    // MARK: slots and their lists

    private mutating func takeSlot(_ new: Slot) -> UInt32 {
        guard firstFree != Self.none else {
            slots.append(new)
            return UInt32(slots.count - 1)
        }
        let slot = firstFree
        firstFree = slots[Int(slot)].older
        slots[Int(slot)] = new
        return slot
    }

    private mutating func linkNewest(_ slot: UInt32) {
        newestUse += 1
        slots[Int(slot)].lastUse = newestUse
        let list = Int(slots[Int(slot)].dataset)
        let newest = lists[list].newest
        slots[Int(slot)].newer = Self.none
        slots[Int(slot)].older = newest
        if newest != Self.none { slots[Int(newest)].newer = slot } else { lists[list].oldest = slot }
        lists[list].newest = slot
    }

    private mutating func linkOldest(_ slot: UInt32) {
        oldestUse -= 1
        slots[Int(slot)].lastUse = oldestUse
        let list = Int(slots[Int(slot)].dataset)
        let oldest = lists[list].oldest
        slots[Int(slot)].older = Self.none
        slots[Int(slot)].newer = oldest
        if oldest != Self.none { slots[Int(oldest)].older = slot } else { lists[list].newest = slot }
        lists[list].oldest = slot
    }

    private mutating func unlink(_ slot: UInt32) {
        let list = Int(slots[Int(slot)].dataset)
        let newer = slots[Int(slot)].newer
        let older = slots[Int(slot)].older
        if newer != Self.none { slots[Int(newer)].older = older } else { lists[list].newest = older }
        if older != Self.none { slots[Int(older)].newer = newer } else { lists[list].oldest = newer }
    }
}
