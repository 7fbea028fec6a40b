/// The files of the cache in order of their last use: 48 bytes each and a table to find them. No I/O, no lock.
struct DiskIndex {
    private struct Slot {
        var digest: DiskDigest
        /// Room on disk in units of 4 KiB: 16 TiB fit.
        var units: UInt32
        var newer: UInt32
        /// Links the free slots too.
        var older: UInt32
    }
    private static let none = UInt32.max
    private static let unit: UInt64 = 4096

    private var slots: [Slot] = []
    private var firstFree = Self.none
    /// Open addressing, linear probing, at most half full; its size is a power of two.
    private var table: [UInt32] = Array(repeating: Self.none, count: 64)
    private var newest = Self.none
    private var oldest = Self.none
    private(set) var count = 0
    private var units: UInt64 = 0

    /// Room on disk of all files, in bytes.
    var bytes: UInt64 { units * Self.unit }

    func contains(_ digest: DiskDigest) -> Bool { table[position(of: digest)] != Self.none }

    /// Makes it the newest. False where it isn't known.
    mutating func touch(_ digest: DiskDigest) -> Bool {
        let slot = table[position(of: digest)]
        guard slot != Self.none else { return false }
        unlink(slot)
        linkNewest(slot)
        return true
    }

    /// Notes the file's room on disk, in bytes; a new file becomes the newest, or the oldest where `asOldest`.
    mutating func set(_ digest: DiskDigest, bytes: UInt64, asOldest: Bool = false) {
        let size = UInt32(clamping: (bytes + Self.unit - 1) / Self.unit)
        let found = table[position(of: digest)]
        if found != Self.none {
            units = units - UInt64(slots[Int(found)].units) + UInt64(size)
            slots[Int(found)].units = size
            return
        }
        if (count + 1) * 2 > table.count { grow() }
        let slot = takeSlot(Slot(digest: digest, units: size, newer: Self.none, older: Self.none))
        table[position(of: digest)] = slot
        if asOldest { linkOldest(slot) } else { linkNewest(slot) }
        count += 1
        units += UInt64(size)
    }

    /// Forgets the file and answers its room on disk, in bytes; nil where it isn't known.
    @discardableResult
    mutating func remove(_ digest: DiskDigest) -> UInt64? {
        let at = position(of: digest)
        let slot = table[at]
        guard slot != Self.none else { return nil }
        close(gap: at)
        unlink(slot)
        let size = UInt64(slots[Int(slot)].units)
        slots[Int(slot)].older = firstFree
        firstFree = slot
        count -= 1
        units -= size
        return size * Self.unit
    }

    /// The file whose last use is longest ago, of those that `isWanted`.
    func oldest(where isWanted: (DiskDigest) -> Bool) -> DiskDigest? {
        var slot = oldest
        while slot != Self.none {
            if isWanted(slots[Int(slot)].digest) { return slots[Int(slot)].digest }
            slot = slots[Int(slot)].newer
        }
        return nil
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
        var slot = oldest
        while slot != Self.none {
            table[position(of: slots[Int(slot)].digest)] = slot
            slot = slots[Int(slot)].newer
        }
    }

    // MARK: slots and their list

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
        slots[Int(slot)].newer = Self.none
        slots[Int(slot)].older = newest
        if newest != Self.none { slots[Int(newest)].newer = slot } else { oldest = slot }
        newest = slot
    }

    private mutating func linkOldest(_ slot: UInt32) {
        slots[Int(slot)].older = Self.none
        slots[Int(slot)].newer = oldest
        if oldest != Self.none { slots[Int(oldest)].older = slot } else { newest = slot }
        oldest = slot
    }

    private mutating func unlink(_ slot: UInt32) {
        let newer = slots[Int(slot)].newer
        let older = slots[Int(slot)].older
        if newer != Self.none { slots[Int(newer)].older = older } else { newest = older }
        if older != Self.none { slots[Int(older)].newer = newer } else { oldest = newer }
    }
}
