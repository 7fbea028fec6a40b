import Curl
import Synchronization

/// Cancels an exchange whichever comes first, its start or the cancellation.
final class Cancellation: Sendable {
    private enum State {
        case notStarted
        case running(HTTPTask)
        case cancelled
    }
    private let state = Mutex(State.notStarted)

    func started(_ task: HTTPTask) {
        let isCancelled = state.withLock { state in
            if case .cancelled = state { return true }
            state = .running(task)
            return false
        }
        if isCancelled { task.cancel() }
    }

    func cancel() {
        let task: HTTPTask? = state.withLock { state in
            defer { state = .cancelled }
            if case .running(let task) = state { return task }
            return nil
        }
        task?.cancel()
    }
}

/// Resumes a continuation with the first of several results.
final class Once<Value: Sendable>: Sendable {
    private let continuation: Mutex<CheckedContinuation<Value, Never>?>

    init(_ continuation: CheckedContinuation<Value, Never>) { self.continuation = Mutex(continuation) }

    func give(_ value: Value) {
        let waiting = continuation.withLock { continuation in
            defer { continuation = nil }
            return continuation
        }
        waiting?.resume(returning: value)
    }
}
