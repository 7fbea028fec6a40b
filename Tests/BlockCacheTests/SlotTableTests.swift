import TestSupport
import Testing

@testable import BlockCache

@Suite struct SlotTableTests {
    private static let lists: [SlotTable.List] = [.consumed, .used, .ahead]

    @Test func listsMatchArraysUnderRandomMoves() {
        var random = Seeded(Seeded.seed)
        var table = SlotTable(count: 40)
        for slot in 0..<40 { table[UInt32(slot)] = SlotTable.Info() }
        var model: [[UInt32]] = [[], [], []]
        for _ in 0..<20_000 {
            let slot = UInt32.random(in: 0..<40, using: &random)
            if let i = model.firstIndex(where: { $0.contains(slot) }) {
                table.leave(slot)
                model[i].removeAll { $0 == slot }
            } else {
                let list = Int.random(in: 0..<3, using: &random)
                table.enter(Self.lists[list], slot, seconds: 7)
                model[list].append(slot)
            }
            for (i, list) in Self.lists.enumerated() {
                #expect(table.count(list) == model[i].count, "\(Seeded.hint)")
                #expect(table.oldest(list) == model[i].first, "\(Seeded.hint)")
            }
        }
    }
}

@Suite struct BlockTableTests {
    @Test func matchesADictionaryAndEndsEmpty() {
        var random = Seeded(Seeded.seed)
        let count = 1000
        var table = BlockTable(blockCount: count)
        var model: [Int: BlockTable.Block] = [:]
        for _ in 0..<20_000 {
            let block = Int.random(in: 0..<count, using: &random)
            let slot = UInt32.random(in: 0..<(1 << 30), using: &random)
            let state: BlockTable.Block = [.missing, .fetching(slot), .present(slot)].randomElement(using: &random)!
            table[block] = state
            model[block] = state
            let other = Int.random(in: 0..<count, using: &random)
            #expect(table[other] == model[other] ?? .missing, "\(Seeded.hint)")
        }
        #expect(table.footprint > 0)
        for block in 0..<count { table[block] = .missing }
        #expect(table.footprint == 0)
    }

    @Test func aHugeObjectCostsWhatIsHeldOfIt() {
        var table = BlockTable(blockCount: 5 << 24)
        table[(5 << 24) - 1] = .present(4)
        #expect(table[(5 << 24) - 1] == .present(4))
        #expect(table[0] == .missing)
        #expect(table.footprint < 1024)
    }
}
