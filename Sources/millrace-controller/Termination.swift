import Glibc
import Synchronization

/// SIGTERM and SIGINT as something to wait for.
enum Termination {
    private enum State {
        case running
        case waitedFor(CheckedContinuation<Void, Never>)
        case asked
    }
    private static let state = Mutex(State.running)

    /// Before any thread starts, as threads inherit the mask.
    static func block() {
        signal(SIGPIPE, SIG_IGN)
        var signals = set
        pthread_sigmask(SIG_BLOCK, &signals, nil)
    }

    /// Takes signals on the calling thread for ever.
    static func serve() -> Never {
        while true {
            var signals = set
            var number: Int32 = 0
            guard sigwait(&signals, &number) == 0 else { continue }
            let waiting: CheckedContinuation<Void, Never>? = state.withLock { state in
                defer { state = .asked }
                if case .waitedFor(let continuation) = state { return continuation }
                return nil
            }
            waiting?.resume()
        }
    }

    /// Returns once the process was asked to end. Only one may wait.
    static func wait() async {
        await withCheckedContinuation { continuation in
            let isAsked = state.withLock { state in
                if case .asked = state { return true }
                state = .waitedFor(continuation)
                return false
            }
            if isAsked { continuation.resume() }
        }
    }

    private static var set: sigset_t {
        var signals = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGTERM)
        sigaddset(&signals, SIGINT)
        return signals
    }
}
