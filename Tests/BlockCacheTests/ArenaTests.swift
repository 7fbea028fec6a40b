import TestSupport
import Testing

@testable import BlockCache

@Suite struct ArenaTests {
    @Test func givesEachSlotOnceAndTheLowestFirst() {
        var arena = Arena(bytes: 200 * Arena.slotBytes)
        #expect((0..<200).map { _ in arena.take() } == (0..<200).map { UInt32($0) })
        #expect(arena.take() == nil)
        #expect(arena.freeCount == 0)
        for slot: UInt32 in [150, 3, 64] { arena.put(slot) }
        #expect([arena.take(), arena.take(), arena.take(), arena.take()] == [3, 64, 150, nil])
    }

    @Test func slotsKeepTheirBytesUntilTheyAreGivenBack() {
        var arena = Arena(bytes: 8 * Arena.slotBytes)
        let kept = arena.take()!
        let freed = arena.take()!
        for slot in [kept, freed] {
            arena.address(slot).initializeMemory(as: UInt8.self, repeating: 0xab, count: Arena.slotBytes)
        }
        arena.put(freed)
        #expect(arena.giveBack() == 1)
        #expect(arena.giveBack() == 0)
        #expect(arena.address(kept).load(as: UInt8.self) == 0xab)
        #expect(arena.address(freed).load(as: UInt8.self) == 0)
    }

    @Test func randomTakesAndPutsMatchASet() {
        var random = Seeded(Seeded.seed)
        var arena = Arena(bytes: 130 * Arena.slotBytes)
        var free = Set((0..<130).map { UInt32($0) })
        for _ in 0..<20_000 {
            if Bool.random(using: &random) {
                let slot = arena.take()
                #expect(slot == free.min(), "\(Seeded.hint)")
                if let slot { free.remove(slot) }
            } else if let slot = Set(0..<130).subtracting(free).randomElement(using: &random) {
                arena.put(slot)
                free.insert(slot)
            }
            #expect(arena.freeCount == free.count, "\(Seeded.hint)")
        }
    }
}
