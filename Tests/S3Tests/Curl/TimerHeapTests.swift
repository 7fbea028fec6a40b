import Testing
import Threads

@testable import Curl

@Suite struct TimerHeapTests {
    @Test func runsDueTimersInOrderOfTheirDeadlines() {
        var heap = TimerHeap()
        var generator = SystemRandomNumberGenerator()
        var ran: [UInt64] = []
        let deadlines = (0..<500).map { _ in UInt64.random(in: 0..<100, using: &generator) }
        for deadline in deadlines { _ = heap.add(Instant(nanoseconds: deadline)) { ran.append(deadline) } }
        while let action = heap.popDue(Instant(nanoseconds: 49)) { action() }
        #expect(ran == deadlines.filter { $0 <= 49 }.sorted())
        #expect(heap.next.map { $0.nanoseconds >= 50 } ?? true)
    }

    @Test func cancelledTimersNeverRun() {
        var heap = TimerHeap()
        var ran = Set<Int>()
        let timers = (0..<200).map { i in heap.add(Instant(nanoseconds: UInt64((i * 7919) % 200))) { ran.insert(i) } }
        for i in stride(from: 0, to: 200, by: 3) { heap.cancel(timers[i]) }
        heap.cancel(timers[0])  // A second time is harmless.
        while let action = heap.popDue(Instant(nanoseconds: 1000)) { action() }
        #expect(ran == Set((0..<200).filter { $0 % 3 != 0 }))
        #expect(heap.count == 0)
    }
}
