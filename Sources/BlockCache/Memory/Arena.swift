import Glibc

/// One mapped region cut into slots of a block each: the hard limit of the memory that holds object bytes.
///
/// Pages are committed by their first write and the lowest free slots are given out first, so an engine's resident
/// size follows what it holds. Not thread-safe: guarded by the cache's lock.
struct Arena: ~Copyable {
    /// Bytes of a slot, which is a block: the unit of fetching, holding and evicting.
    static let slotBytes = 65536
    static let slotShift = 16

    let base: UnsafeMutableRawPointer
    let slotCount: Int
    private(set) var usedCount = 0

    /// A bit per slot, set while it is free.
    private let free: UnsafeMutablePointer<UInt64>
    private let wordCount: Int
    /// No word below this one has a free bit.
    private var firstWord = 0
    /// Slots from here on were never given out, so they have no memory to give back.
    private var touchedCount = 0
    /// Something was freed since the last `giveBack`.
    private var isWorthGivingBack = false

    init(bytes: Int) {
        slotCount = max(1, bytes / Arena.slotBytes)
        let region = mmap(
            nil, slotCount * Arena.slotBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0
        )
        guard let region, region != MAP_FAILED else {
            fatalError("mmap of \(slotCount * Arena.slotBytes) bytes for the block cache failed: errno \(errno)")
        }
        base = region
        // Fewer page faults and shorter page walks; a kernel without huge pages just goes on.
        madvise(region, slotCount * Arena.slotBytes, MADV_HUGEPAGE)
        wordCount = (slotCount + 63) / 64
        free = .allocate(capacity: wordCount)
        free.initialize(repeating: .max, count: wordCount)
        let tail = slotCount % 64
        if tail != 0 { free[wordCount - 1] = (1 << UInt64(tail)) - 1 }
    }

    deinit {
        munmap(base, slotCount * Arena.slotBytes)
        free.deallocate()
    }

    var freeCount: Int { slotCount - usedCount }

    func address(_ slot: UInt32) -> UnsafeMutableRawPointer { base + Int(slot) << Arena.slotShift }

    /// The lowest free slot; nil when there is none. Slots taken one after the other tend to be neighbours.
    mutating func take() -> UInt32? {
        while firstWord < wordCount {
            let word = free[firstWord]
            if word != 0 {
                let bit = word.trailingZeroBitCount
                free[firstWord] = word & ~(1 << UInt64(bit))
                usedCount += 1
                let slot = firstWord * 64 + bit
                touchedCount = max(touchedCount, slot + 1)
                return UInt32(slot)
            }
            firstWord += 1
        }
        return nil
    }

    mutating func put(_ slot: UInt32) {
        let word = Int(slot) / 64
        let bit: UInt64 = 1 << UInt64(slot % 64)
        precondition(free[word] & bit == 0, "slot \(slot) freed twice")
        free[word] |= bit
        firstWord = min(firstWord, word)
        usedCount -= 1
        isWorthGivingBack = true
    }

    /// Returns the memory of free slots to the system; answers the slots' count. For an engine that has gone idle.
    mutating func giveBack() -> Int {
        guard isWorthGivingBack else { return 0 }
        isWorthGivingBack = false
        var given = 0
        var slot = 0
        while slot < touchedCount {
            guard free[slot / 64] & (1 << UInt64(slot % 64)) != 0 else {
                slot += 1
                continue
            }
            let start = slot
            while slot < touchedCount, free[slot / 64] & (1 << UInt64(slot % 64)) != 0 { slot += 1 }
            madvise(base + start << Arena.slotShift, (slot - start) << Arena.slotShift, MADV_DONTNEED)
            given += slot - start
        }
        while touchedCount > 0, free[(touchedCount - 1) / 64] & (1 << UInt64((touchedCount - 1) % 64)) != 0 {
            touchedCount -= 1
        }
        return given
    }
}
