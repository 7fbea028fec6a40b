import Curl
import Synchronization
import Threads

/// A client's part of one transfer thread: what runs there and what waits, the most urgent first.
final class Lane: @unchecked Sendable {
    let thread: TransferThread
    private let outstanding = Atomic<Int>(0)

    // Of the thread only.
    private var queue = RequestQueue()
    private var active = 0
    private(set) var throttle: Throttle
    private var wake: Timer?
    private var isPumping = false

    init(_ thread: TransferThread, maxActive: Int) {
        self.thread = thread
        throttle = Throttle(maximum: maxActive)
    }

    /// Requests that have not ended; from any thread.
    var load: Int { outstanding.load(ordering: .relaxed) }
    func began() { outstanding.add(1, ordering: .relaxed) }
    func ended() { outstanding.subtract(1, ordering: .relaxed) }

    // MARK: On the thread

    /// The operation's `start` is called when its turn comes.
    func enqueue(_ operation: Operation, isRetry: Bool = false) {
        queue.push(operation, first: isRetry)
        operation.client.metrics.queued.add(1)
        pump()
    }

    func dequeue(_ operation: Operation) {
        if queue.remove(operation) { operation.client.metrics.queued.add(-1) }
    }

    func reprioritise(_ operation: Operation) {
        if queue.remove(operation) { queue.push(operation, first: false) }
    }

    /// A place is free again.
    func release() {
        active -= 1
        pump()
    }

    /// A hedge takes a place even where none is free; it is rare and somebody waits.
    func takePlace() { active += 1 }

    func succeeded() { throttle.succeeded() }

    func slowDown(pauseMs: Int) { throttle.slowDown(now: .now, pauseMs: pauseMs) }

    private func pump() {
        // An operation that fails in `start` releases its place: this loop goes on with the next, not a nested one.
        if isPumping { return }
        isPumping = true
        defer { isPumping = false }
        while !queue.isEmpty {
            switch throttle.admits(active: active, now: .now) {
            case .full: return
            case .pausedUntil(let instant):
                if wake == nil {
                    wake = thread.at(instant) { [self] in
                        wake = nil
                        pump()
                    }
                }
                return
            case .go:
                guard let operation = queue.pop() else { return }
                operation.client.metrics.queued.add(-1)
                active += 1
                operation.start()
            }
        }
    }
}

/// First in, first out, for each priority. Removal leaves a gap that `pop` skips.
struct RequestQueue {
    private var levels = Priority.allCases.map { _ in Level() }
    private(set) var count = 0

    private struct Level {
        var items: [Operation?] = []
        var head = 0
        /// Retries: they have waited before.
        var first: [Operation] = []
    }

    var isEmpty: Bool { count == 0 }

    mutating func push(_ operation: Operation, first: Bool) {
        let level = Int(operation.priority.rawValue)
        operation.queuedAt = operation.priority
        if first { levels[level].first.append(operation) } else { levels[level].items.append(operation) }
        count += 1
    }

    mutating func pop() -> Operation? {
        for level in levels.indices {
            if !levels[level].first.isEmpty {
                return taken(levels[level].first.removeFirst())
            }
            while levels[level].head < levels[level].items.count {
                let head = levels[level].head
                let item = levels[level].items[head]
                levels[level].items[head] = nil
                levels[level].head += 1
                if levels[level].head > 1024 && levels[level].head * 2 > levels[level].items.count {
                    levels[level].items.removeFirst(levels[level].head)
                    levels[level].head = 0
                }
                if let item { return taken(item) }
            }
            levels[level].items.removeAll(keepingCapacity: true)
            levels[level].head = 0
        }
        return nil
    }

    /// False where it was not waiting.
    mutating func remove(_ operation: Operation) -> Bool {
        guard let priority = operation.queuedAt else { return false }
        let level = Int(priority.rawValue)
        if let index = levels[level].items.firstIndex(where: { $0 === operation }) {
            levels[level].items[index] = nil
        } else {
            levels[level].first.removeAll { $0 === operation }
        }
        _ = taken(operation)
        return true
    }

    private mutating func taken(_ operation: Operation) -> Operation {
        operation.queuedAt = nil
        count -= 1
        return operation
    }
}
