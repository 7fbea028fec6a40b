import Threads

/// One thread that runs what it is given, in order: answers that are known at once still come from elsewhere, as those of
/// a real store do. It ends with its owner.
final class CompletionQueue: Sendable {
    private final class State: @unchecked Sendable {
        let lock = Lock()
        let changed: Condition
        var jobs: [@Sendable () -> Void] = []
        var isStopped = false

        init() { changed = Condition(lock) }

        func run() {
            while true {
                let next: [@Sendable () -> Void] = lock.withLock {
                    while jobs.isEmpty && !isStopped { _ = changed.wait() }
                    defer { jobs = [] }
                    return jobs
                }
                if next.isEmpty { return }
                for job in next { job() }
            }
        }
    }

    private let state = State()

    init(_ name: String) {
        _ = Thread(name) { [state] in state.run() }
    }

    deinit {
        state.lock.withLock {
            state.isStopped = true
            state.changed.broadcast()
        }
    }

    func perform(_ job: @escaping @Sendable () -> Void) {
        state.lock.withLock {
            state.jobs.append(job)
            state.changed.signal()
        }
    }
}
