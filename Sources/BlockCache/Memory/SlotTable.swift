import Glibc

/// What is known of every slot in use, and the order in which unused bytes give way to new ones.
///
/// A slot in use is held (a fetch writes it, or a reply reads it: `pins`) or else in one of the eviction lists.
/// Guarded by the cache's lock.
struct SlotTable: ~Copyable {
    static let none = UInt32.max

    /// Lists of evictable slots, each oldest first; the first list gives way first.
    enum List: UInt8 {
        /// Read to its end by somebody who reads on: not wanted again soon.
        case consumed
        /// Read, and perhaps again.
        case used
        /// Read ahead and not read yet.
        case ahead
        /// In no list: a fetch or a reply holds it.
        case held
    }

    struct Info {
        /// Retained for as long as the slot is in use.
        var owner: Unmanaged<CachedObject>?
        var block: UInt32 = 0
        var pins: UInt32 = 0
        var previous = none
        var next = none
        /// When it entered its list, in seconds of the monotonic clock.
        var enteredSeconds: UInt32 = 0
        var list = List.held
        /// Fetched, or being fetched, for nobody who waits: counts against read-ahead's part of the memory.
        var isAhead = false
    }

    private struct Ends {
        var oldest = none
        var newest = none
        var count = 0
    }

    private let infos: UnsafeMutablePointer<Info>
    private let bytes: Int
    /// By `List`'s raw value; `held` has none.
    private let lists: UnsafeMutablePointer<Ends>

    /// A mapping of its own, so that the records of slots that were never used cost nothing.
    init(count: Int) {
        bytes = max(1, count) * MemoryLayout<Info>.stride
        let region = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        guard let region, region != MAP_FAILED else { fatalError("mmap of the slot table failed: errno \(errno)") }
        infos = region.bindMemory(to: Info.self, capacity: max(1, count))
        lists = .allocate(capacity: 3)
        lists.initialize(repeating: Ends(), count: 3)
    }

    deinit {
        munmap(infos, bytes)
        lists.deallocate()
    }

    subscript(slot: UInt32) -> Info {
        unsafeAddress { UnsafePointer(infos + Int(slot)) }
        unsafeMutableAddress { infos + Int(slot) }
    }

    func count(_ list: List) -> Int { lists[Int(list.rawValue)].count }

    /// The slot that gives way first in a list.
    func oldest(_ list: List) -> UInt32? {
        let slot = lists[Int(list.rawValue)].oldest
        return slot == SlotTable.none ? nil : slot
    }

    /// Puts a held slot at a list's young end.
    mutating func enter(_ list: List, _ slot: UInt32, seconds: UInt32) {
        assert(infos[Int(slot)].list == .held && infos[Int(slot)].pins == 0)
        infos[Int(slot)].enteredSeconds = seconds
        infos[Int(slot)].list = list
        infos[Int(slot)].next = SlotTable.none
        link(slot, lists + Int(list.rawValue))
    }

    /// Takes a slot out of its list, so that it can't be evicted.
    mutating func leave(_ slot: UInt32) {
        let list = infos[Int(slot)].list
        guard list != .held else { return }
        unlink(slot, lists + Int(list.rawValue))
        infos[Int(slot)].list = .held
    }

    private func link(_ slot: UInt32, _ ends: UnsafeMutablePointer<Ends>) {
        infos[Int(slot)].previous = ends.pointee.newest
        if ends.pointee.newest == SlotTable.none {
            ends.pointee.oldest = slot
        } else {
            infos[Int(ends.pointee.newest)].next = slot
        }
        ends.pointee.newest = slot
        ends.pointee.count += 1
    }

    private func unlink(_ slot: UInt32, _ ends: UnsafeMutablePointer<Ends>) {
        let info = infos[Int(slot)]
        if info.previous == SlotTable.none {
            ends.pointee.oldest = info.next
        } else {
            infos[Int(info.previous)].next = info.next
        }
        if info.next == SlotTable.none {
            ends.pointee.newest = info.previous
        } else {
            infos[Int(info.next)].previous = info.previous
        }
        ends.pointee.count -= 1
    }
}
