import Kubernetes
import Threads

/// A process that talks to the API server: dead after so many calls, before or after the last is performed. For the hook
/// of a `DirectTransport`.
public final class Life: Sendable {
    private let state = Locked((left: Int.max, isAfter: false, isDead: false))

    public init() {}

    public var isDead: Bool { state.withLock { $0.isDead } }

    public func dieAt(call: Int, after: Bool) { state.withLock { $0 = (call, after, false) } }

    public func check(isDone: Bool) throws(APIError) {
        let isDead = state.withLock { state in
            if state.isDead { return true }
            if !isDone { state.left -= 1 }
            if state.left <= 0 && state.isAfter == isDone { state.isDead = true }
            return state.isDead
        }
        if isDead { throw .network("the process is dead") }
    }
}
