import Glibc
import Threads

/// SIGTERM and SIGINT as something to wait for.
enum Termination {
    static func block() {
        signal(SIGPIPE, SIG_IGN)
        var signals = set
        pthread_sigmask(SIG_BLOCK, &signals, nil)
    }

    static func wait() async {
        await withCheckedContinuation { continuation in
            _ = Thread("signals") {
                var signals = set
                var number: Int32 = 0
                while sigwait(&signals, &number) != 0 {}
                continuation.resume()
            }
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
