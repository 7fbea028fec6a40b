import Threads

/// Something to be done at a moment, on the thread that holds the heap. Cancelling is cheap, so that each request can
/// have deadlines that almost never come.
public final class Timer {
    public let deadline: Instant
    fileprivate let sequence: UInt64
    fileprivate var index: Int
    fileprivate var action: (() -> Void)?

    fileprivate init(_ deadline: Instant, _ sequence: UInt64, _ index: Int, _ action: @escaping () -> Void) {
        self.deadline = deadline
        self.sequence = sequence
        self.index = index
        self.action = action
    }

    /// Still to come.
    public var isPending: Bool { action != nil }
}

/// A binary heap of timers, the earliest first; equal deadlines in the order they were set.
struct TimerHeap {
    private var timers: [Timer] = []
    private var sequence: UInt64 = 0

    var next: Instant? { timers.first?.deadline }
    var count: Int { timers.count }

    mutating func add(_ deadline: Instant, _ action: @escaping () -> Void) -> Timer {
        sequence += 1
        let timer = Timer(deadline, sequence, timers.count, action)
        timers.append(timer)
        siftUp(timers.count - 1)
        return timer
    }

    /// Does nothing where the timer has run or was cancelled.
    mutating func cancel(_ timer: Timer) {
        guard timer.isPending else { return }
        timer.action = nil
        remove(at: timer.index)
    }

    /// The action of the earliest timer that is due.
    mutating func popDue(_ now: Instant) -> (() -> Void)? {
        guard let first = timers.first, first.deadline <= now else { return nil }
        let action = first.action
        first.action = nil
        remove(at: 0)
        return action
    }

    private mutating func remove(at index: Int) {
        let last = timers.removeLast()
        guard index < timers.count else { return }
        place(last, at: index)
        siftDown(index)
        siftUp(last.index)
    }

    private mutating func place(_ timer: Timer, at index: Int) {
        timers[index] = timer
        timer.index = index
    }

    private func precedes(_ a: Timer, _ b: Timer) -> Bool {
        a.deadline == b.deadline ? a.sequence < b.sequence : a.deadline < b.deadline
    }

    private mutating func siftUp(_ start: Int) {
        var index = start
        let timer = timers[index]
        while index > 0 {
            let parent = (index - 1) / 2
            guard precedes(timer, timers[parent]) else { break }
            place(timers[parent], at: index)
            index = parent
        }
        place(timer, at: index)
    }

    private mutating func siftDown(_ start: Int) {
        var index = start
        let timer = timers[index]
        while true {
            var child = 2 * index + 1
            guard child < timers.count else { break }
            if child + 1 < timers.count && precedes(timers[child + 1], timers[child]) { child += 1 }
            guard precedes(timers[child], timer) else { break }
            place(timers[child], at: index)
            index = child
        }
        place(timer, at: index)
    }
}
