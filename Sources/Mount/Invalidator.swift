import Threads

/// A thread for calls that wait for the kernel: invalidations wait until requests of the inode are answered, so neither
/// a thread that answers requests nor one that transfers may make them.
final class Invalidator: Sendable {
    private struct State {
        var jobs: [@Sendable () -> Void] = []
        var isStopped = false
    }
    private let lock = Lock()
    private let wake: Condition
    private final class Box: @unchecked Sendable { var state = State() }
    private let box = Box()
    private let thread = Locked<Thread?>(nil)

    init() {
        wake = Condition(lock)
        let started = Thread("invalidator") { [lock, wake, box] in
            while true {
                let jobs: [@Sendable () -> Void]? = lock.withLock {
                    while box.state.jobs.isEmpty {
                        if box.state.isStopped { return nil }
                        _ = wake.wait()
                    }
                    defer { box.state.jobs = [] }
                    return box.state.jobs
                }
                guard let jobs else { return }
                for job in jobs { job() }
            }
        }
        thread.withLock { $0 = started }
    }

    func perform(_ job: @escaping @Sendable () -> Void) {
        lock.withLock {
            if box.state.isStopped { return }
            box.state.jobs.append(job)
            wake.signal()
        }
    }

    /// Ends the thread after the jobs it has. The connections they wait for should be gone.
    func stop() {
        lock.withLock {
            box.state.isStopped = true
            wake.signal()
        }
        thread.withLock { thread in
            defer { thread = nil }
            return thread
        }?.join()
    }
}
