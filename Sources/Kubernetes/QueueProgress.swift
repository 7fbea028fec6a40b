import Synchronization
import Threads

/// Whether a work queue moves, for the health probe: a controller that is alive and stuck must be started anew.
public final class QueueProgress: Sendable {
    static let stuckMs = 120_000.0

    private struct State {
        var isRunning = false
        var isSynced = false
        var depth = 0
        var longestMs = 0.0
        var movedAt = Threads.Instant.now
    }
    private let state = Mutex(State())

    public init() {}

    public func started() {
        state.withLock { state in
            state = State()
            state.isRunning = true
        }
    }
    public func stopped() { state.withLock { $0.isRunning = false } }
    public func synced() {
        state.withLock { state in
            state.isSynced = true
            state.movedAt = .now
        }
    }
    public func finishedOne() { state.withLock { $0.movedAt = .now } }

    public func note(_ health: QueueHealth) {
        state.withLock { state in
            state.depth = health.depth
            state.longestMs = health.longestMs
            if health.depth == 0 { state.movedAt = .now }
        }
    }

    public var depth: Int { state.withLock { $0.depth } }
    public var isSynced: Bool { state.withLock { $0.isSynced } }

    /// A replica that doesn't lead has no queue and is well.
    public var isHealthy: Bool {
        state.withLock { state in
            guard state.isRunning, state.isSynced else { return true }
            return state.longestMs < Self.stuckMs && Threads.Instant.now.ms(since: state.movedAt) < Self.stuckMs
        }
    }
}
