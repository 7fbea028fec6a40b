import Kubernetes
import Synchronization
import Threads

/// Whether the queue moves, for the health probe: a controller that is alive and stuck must be started anew.
final class QueueProgress: Sendable {
    static let stuckMs = 120_000.0

    private struct State {
        var isRunning = false
        var isSynced = false
        var depth = 0
        var longestMs = 0.0
        var movedAt = Threads.Instant.now
    }
    private let state = Mutex(State())

    func started() {
        state.withLock { state in
            state = State()
            state.isRunning = true
        }
    }
    func stopped() { state.withLock { $0.isRunning = false } }
    func synced() {
        state.withLock { state in
            state.isSynced = true
            state.movedAt = .now
        }
    }
    func finishedOne() { state.withLock { $0.movedAt = .now } }

    func note(_ health: WorkQueue<Work>.Health) {
        state.withLock { state in
            state.depth = health.depth
            state.longestMs = health.longestMs
            if health.depth == 0 { state.movedAt = .now }
        }
    }

    var depth: Int { state.withLock { $0.depth } }
    var isSynced: Bool { state.withLock { $0.isSynced } }

    /// A replica that doesn't lead has no queue and is well.
    var isHealthy: Bool {
        state.withLock { state in
            guard state.isRunning, state.isSynced else { return true }
            return state.longestMs < Self.stuckMs && Threads.Instant.now.ms(since: state.movedAt) < Self.stuckMs
        }
    }
}
