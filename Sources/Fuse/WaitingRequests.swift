import Threads

/// A request that can be answered early, because nobody wants its answer any more.
protocol Interruptible: AnyObject, Sendable {
    /// The thread that waits, by its number in the mounter's namespace; 0 where it can't be seen from there.
    var thread: UInt32 { get }
    /// Answers with EINTR, unless there is an answer already. What comes later is thrown away.
    func interrupt()
}

/// The requests of a session that wait for their answers, by the kernel's numbers, so that an INTERRUPT finds its own.
final class WaitingRequests: Sendable {
    private struct Waiting {
        weak var request: (any Interruptible)?
    }
    private struct State {
        var waiting: [UInt64: Waiting] = [:]
        /// INTERRUPTs that overtook their requests on another thread. Numbers are never used twice, so what is left of
        /// requests that were answered meanwhile does no harm.
        var early: [UInt64] = []
    }
    /// More threads than this don't serve one session at a time.
    private static let earlyLimit = 64

    private let state = Locked(State())

    /// From here on `interrupted` finds the request; until `remove`, which is due whenever it was answered.
    func add(_ unique: UInt64, _ request: any Interruptible) {
        let isEarly = state.withLock { state in
            state.waiting[unique] = Waiting(request: request)
            guard let place = state.early.firstIndex(of: unique) else { return false }
            state.early.remove(at: place)
            return true
        }
        if isEarly { end(request) }
    }

    func remove(_ unique: UInt64) { state.withLock { _ = $0.waiting.removeValue(forKey: unique) } }

    /// The kernel tells that a signal came for who waits for this request.
    func interrupted(_ unique: UInt64) {
        let request: (any Interruptible)? = state.withLock { state in
            if let waiting = state.waiting[unique] { return waiting.request }
            if state.early.count == Self.earlyLimit { state.early.removeFirst() }
            state.early.append(unique)
            return nil
        }
        if let request { end(request) }
    }

    private func end(_ request: any Interruptible) {
        if PendingSignals(ofThread: request.thread)?.askToEnd ?? false { request.interrupt() }
    }
}
