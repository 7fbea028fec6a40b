/// Where an entry is: its block and its place in it.
struct Location: Equatable {
    var block: UInt32
    var index: UInt16
}

/// Finds the entries that the kernel knows by number, in about 12 bytes each: a slot has the place and 16 bits of the
/// number; the entry itself tells the rest. In 256 parts that grow one by one, so that no growth takes long.
struct InodeIndex: ~Copyable {
    private struct Part {
        /// 0: never used; 1: freed; else block (32 bits), index (16), tag (16).
        var slots: UnsafeMutablePointer<UInt64>?
        var capacity = 0
        var used = 0
        var freed = 0
    }
    private let parts: UnsafeMutablePointer<Part>
    private(set) var count = 0
    private(set) var memory = 0

    init() {
        parts = .allocate(capacity: 256)
        parts.initialize(repeating: Part(), count: 256)
    }

    deinit {
        for i in 0..<256 { parts[i].slots?.deallocate() }
        parts.deallocate()
    }

    private static func slot(_ inode: InodeNumber, _ location: Location) -> UInt64 {
        UInt64(location.block) << 32 | UInt64(location.index) << 16 | (inode >> 40 & 0xffff)
    }
    private static func location(_ slot: UInt64) -> Location {
        Location(block: UInt32(slot >> 32), index: UInt16(slot >> 16 & 0xffff))
    }
    private static func home(_ inode: InodeNumber, _ capacity: Int) -> Int {
        Int((inode & 0xffff_ffff) * UInt64(capacity) >> 32)
    }

    /// `matches` is asked of every candidate, nearly always one.
    func find(_ inode: InodeNumber, where matches: (Location) -> Bool) -> Location? {
        let part = parts[Int(inode >> 56)]
        guard let slots = part.slots else { return nil }
        var i = Self.home(inode, part.capacity)
        while slots[i] != 0 {
            if slots[i] != 1, slots[i] & 0xffff == inode >> 40 & 0xffff, matches(Self.location(slots[i])) {
                return Self.location(slots[i])
            }
            i = i + 1 == part.capacity ? 0 : i + 1
        }
        return nil
    }

    /// Adds what isn't in. `inodeAt` tells the numbers of those that must move.
    mutating func insert(_ inode: InodeNumber, _ location: Location, inodeAt: (Location) -> InodeNumber) {
        let p = Int(inode >> 56)
        if (parts[p].used + parts[p].freed + 1) * 5 > parts[p].capacity * 4 { resize(p, inodeAt) }
        put(p, inode, Self.slot(inode, location))
        parts[p].used += 1
        count += 1
    }

    mutating func move(_ inode: InodeNumber, from old: Location, to new: Location) {
        if let at = place(inode, old) { parts[Int(inode >> 56)].slots![at] = Self.slot(inode, new) }
    }

    mutating func remove(_ inode: InodeNumber, _ location: Location, inodeAt: (Location) -> InodeNumber) {
        guard let at = place(inode, location) else { return }
        let p = Int(inode >> 56)
        parts[p].slots![at] = 1
        parts[p].used -= 1
        parts[p].freed += 1
        count -= 1
        if parts[p].capacity > 16, parts[p].used * 4 < parts[p].capacity { resize(p, inodeAt) }
    }

    private func place(_ inode: InodeNumber, _ location: Location) -> Int? {
        let part = parts[Int(inode >> 56)]
        guard let slots = part.slots else { return nil }
        let slot = Self.slot(inode, location)
        var i = Self.home(inode, part.capacity)
        while slots[i] != 0 {
            if slots[i] == slot { return i }
            i = i + 1 == part.capacity ? 0 : i + 1
        }
        return nil
    }

    private func put(_ p: Int, _ inode: InodeNumber, _ slot: UInt64) {
        let slots = parts[p].slots!
        var i = Self.home(inode, parts[p].capacity)
        while slots[i] > 1 { i = i + 1 == parts[p].capacity ? 0 : i + 1 }
        if slots[i] == 1 { parts[p].freed -= 1 }
        slots[i] = slot
    }

    /// To two thirds full at most, without the freed slots.
    private mutating func resize(_ p: Int, _ inodeAt: (Location) -> InodeNumber) {
        let old = parts[p]
        let capacity = max(8, old.used * 3 / 2 + 4)
        memory += (capacity - old.capacity) * 8
        let slots = UnsafeMutablePointer<UInt64>.allocate(capacity: capacity)
        slots.initialize(repeating: 0, count: capacity)
        parts[p] = Part(slots: slots, capacity: capacity, used: old.used, freed: 0)
        for i in 0..<old.capacity where old.slots![i] > 1 {
            put(p, inodeAt(Self.location(old.slots![i])), old.slots![i])
        }
        old.slots?.deallocate()
    }
}
