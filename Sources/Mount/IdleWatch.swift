import Synchronization
import Threads

/// Does something once nothing has happened for a while after something did. At rest its thread waits for no time, so an
/// idle engine isn't woken.
final class IdleWatch: Sendable {
    private enum Activity: UInt8, AtomicRepresentable {
        /// Nothing has happened since the action.
        case none
        /// Something happened since the thread looked last.
        case fresh
        /// Something happened, but not since the thread looked last.
        case past
    }

    /// What the thread holds: it ends with the watch.
    private final class Shared: @unchecked Sendable {
        let activity = Atomic<Activity>(.none)
        let lock = Lock()
        let changed: Condition
        // Under the lock.
        var isArmed = false
        var isStopped = false

        init() { changed = Condition(lock) }

        /// Waits until the action is due; false: the watch is stopped.
        func waitUntilDue(_ ms: Int) -> Bool {
            lock.withLock {
                while true {
                    while !isArmed && !isStopped { _ = changed.wait() }
                    let look = Instant.now.advanced(byMs: ms)
                    while !isStopped && changed.wait(until: look) {}
                    if isStopped { return false }
                    if activity.compareExchange(expected: .fresh, desired: .past, ordering: .relaxed).exchanged {
                        continue
                    }
                    if activity.compareExchange(expected: .past, desired: .none, ordering: .relaxed).exchanged {
                        isArmed = false
                        return true
                    }
                }
            }
        }
    }

    private let shared = Shared()
    private let thread = Locked<Thread?>(nil)

    /// `action` is done on a thread of its own, after `ms` to twice as many milliseconds of rest.
    init(afterMs ms: Int, _ action: @escaping @Sendable () -> Void) {
        let started = Thread("idle") { [shared] in
            while shared.waitUntilDue(ms) { action() }
        }
        thread.withLock { $0 = started }
    }

    deinit { stop() }

    /// Something happened. Costs a load while things go on.
    func touch() {
        if shared.activity.load(ordering: .relaxed) == .fresh { return }
        guard shared.activity.exchange(.fresh, ordering: .relaxed) == .none else { return }
        shared.lock.withLock {
            shared.isArmed = true
            shared.changed.signal()
        }
    }

    /// The action isn't done any more. Not on its thread.
    func stop() {
        shared.lock.withLock {
            shared.isStopped = true
            shared.changed.broadcast()
        }
        thread.withLock { $0 }?.join()
    }
}
