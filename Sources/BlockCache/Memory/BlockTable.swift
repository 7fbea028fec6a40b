/// Where an object's blocks are: sparse, so that a 5 TiB object costs what is held of it. Guarded by the cache's lock.
struct BlockTable: ~Copyable {
    enum Block: Equatable {
        case missing
        /// A fetch is writing it.
        case fetching(UInt32)
        case present(UInt32)
    }

    /// Blocks of a group, which has one allocation: 8 MiB of the object.
    private static let groupBlocks = 128
    private static let fetchingBit: UInt32 = 1 << 31

    /// Slot number + 1, with the top bit while it is being fetched; 0 is missing.
    private typealias Cells = UnsafeMutablePointer<UInt32>
    private struct Group {
        var cells: Cells
        var used: Int
    }

    private let blockCount: Int
    private var groups: [Int: Group] = [:]
    /// The group that was looked at last, as reads go through neighbours.
    private var lastIndex = -1
    private var lastCells: Cells?

    init(blockCount: Int) { self.blockCount = blockCount }

    deinit { for group in groups.values { group.cells.deallocate() } }

    subscript(block: Int) -> Block {
        mutating get {
            let index = block / BlockTable.groupBlocks
            if index != lastIndex {
                lastIndex = index
                lastCells = groups[index]?.cells
            }
            guard let cell = lastCells?[block % BlockTable.groupBlocks], cell != 0 else { return .missing }
            if cell & BlockTable.fetchingBit != 0 { return .fetching((cell & ~BlockTable.fetchingBit) - 1) }
            return .present(cell - 1)
        }
        set {
            let index = block / BlockTable.groupBlocks
            let cell: UInt32 =
                switch newValue {
                case .missing: 0
                case .fetching(let slot): (slot + 1) | BlockTable.fetchingBit
                case .present(let slot): slot + 1
                }
            var group = groups[index] ?? newGroup(index)
            let at = block % BlockTable.groupBlocks
            group.used += (cell != 0 ? 1 : 0) - (group.cells[at] != 0 ? 1 : 0)
            group.cells[at] = cell
            if group.used == 0 {
                group.cells.deallocate()
                groups[index] = nil
                lastIndex = -1
            } else {
                groups[index] = group
                lastIndex = index
                lastCells = group.cells
            }
        }
    }

    /// Bytes of memory, about.
    var footprint: Int { groups.count * (BlockTable.groupBlocks * 4 + 48) }

    private func newGroup(_ index: Int) -> Group {
        let count = min(BlockTable.groupBlocks, blockCount - index * BlockTable.groupBlocks)
        let cells = Cells.allocate(capacity: count)
        cells.initialize(repeating: 0, count: count)
        return Group(cells: cells, used: 0)
    }
}
