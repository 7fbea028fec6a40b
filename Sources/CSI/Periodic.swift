import Threads

/// Does something again and again on a thread of its own.
final class Periodic: Sendable {
    private let lock = Lock()
    private let changed: Condition
    private let state = State()

    /// Under `lock`.
    private final class State: @unchecked Sendable {
        var isStopped = false
    }

    init(_ name: String, everyMs: Int, _ body: @escaping @Sendable () -> Void) {
        changed = Condition(lock)
        _ = Thread(name) { [self] in
            while !pause(everyMs) { body() }
        }
    }

    func stop() {
        lock.withLock {
            state.isStopped = true
            changed.broadcast()
        }
    }

    /// True once stopped.
    private func pause(_ ms: Int) -> Bool {
        let deadline = Instant.now.advanced(byMs: ms)
        return lock.withLock {
            while !state.isStopped && changed.wait(until: deadline) {}
            return state.isStopped
        }
    }
}
