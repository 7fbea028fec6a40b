import Testing
import Threads

@testable import Mount

@Suite("Handles")
struct HandleTableTests {
    private final class Value: Sendable {
        let n: Int
        let gone: Locked<Int>?
        init(_ n: Int, _ gone: Locked<Int>? = nil) {
            self.n = n
            self.gone = gone
        }
        deinit { gone?.withLock { $0 += 1 } }
    }

    @Test("a handle stands for its value until it is removed, then for another")
    func reuse() {
        let table = HandleTable<Value>()
        #expect(table[0] == nil && table[1 << 40] == nil && table[.max] == nil)
        let handles = (0..<1000).map { table.insert(Value($0)) }
        #expect(Set(handles).count == 1000)
        for (n, handle) in handles.enumerated() { #expect(table[handle]?.n == n) }
        for handle in handles where handle % 2 == 0 { #expect(table.remove(handle) != nil) }
        for handle in handles where handle % 2 == 0 { #expect(table[handle] == nil && table.remove(handle) == nil) }
        #expect(table.all.count == 500)
        let again = (0..<500).map { table.insert(Value($0)) }
        #expect(Set(again) == Set(handles.filter { $0 % 2 == 0 }))
    }

    @Test("values live as long as their handles, and no longer")
    func lifetime() {
        let gone = Locked(0)
        var table: HandleTable<Value>? = HandleTable()
        let handles = (0..<100).map { table!.insert(Value($0, gone)) }
        for handle in handles.prefix(40) { _ = table!.remove(handle) }
        #expect(gone.withLock { $0 } == 40)
        table = nil
        #expect(gone.withLock { $0 } == 100)
    }

    @Test("handles of an engine before are kept, and new ones are others")
    func restore() {
        let table = HandleTable<Value>()
        table.restore(Value(1), as: 5)
        table.restore(Value(2), as: 700)
        table.restore(Value(3), as: 2)
        table.restore(Value(0), as: .max)
        #expect(table[5]?.n == 1 && table[700]?.n == 2 && table[2]?.n == 3 && table[3] == nil)
        let fresh = Set((0..<1000).map { table.insert(Value($0 + 10)) })
        #expect(fresh.count == 1000 && fresh.isDisjoint(with: [2, 5, 700]))
        #expect(table[5]?.n == 1 && table[700]?.n == 2 && table[2]?.n == 3)
    }

    @Test("handles are found while others come and go")
    func concurrent() {
        let table = HandleTable<Value>()
        let threads = (0..<4).map { t in
            Thread("handles") {
                for round in 0..<2000 {
                    let value = Value(t << 32 | round)
                    let handle = table.insert(value)
                    #expect(table[handle] === value)
                    #expect(table.remove(handle) === value)
                }
            }
        }
        for thread in threads { thread.join() }
        #expect(table.all.isEmpty)
    }
}
