/// Steps in the order in which they are due; those due at once in the order in which they were added.
struct Schedule: Sendable {
    struct Step: Sendable {
        var due: UInt64
        var number: UInt64
        var run: @Sendable () -> Void
    }

    private var heap: [Step] = []
    private var added: UInt64 = 0

    var count: Int { heap.count }
    var firstDue: UInt64? { heap.first?.due }

    mutating func add(due: UInt64, _ run: @escaping @Sendable () -> Void) {
        heap.append(Step(due: due, number: added, run: run))
        added += 1
        var child = heap.count - 1
        while child > 0, precedes(child, (child - 1) / 2) {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    mutating func removeFirst() -> Step? {
        guard !heap.isEmpty else { return nil }
        heap.swapAt(0, heap.count - 1)
        let first = heap.removeLast()
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count && precedes(child, least) {
                least = child
            }
            if least == parent { return first }
            heap.swapAt(parent, least)
            parent = least
        }
    }

    private func precedes(_ a: Int, _ b: Int) -> Bool { (heap[a].due, heap[a].number) < (heap[b].due, heap[b].number) }
}
