import CFuse
import Glibc
import SystemPackage
import Threads

/// Threads that read requests from the descriptors of many sessions and have them answered. They sleep while there is
/// no request: an idle mount costs no wake-up.
public final class Server: Sendable {
    private let loop: ServerLoop
    private let threads = Locked<[Thread]>([])

    /// `workers`: threads; by default one a core, at least 2 and at most 16. They never wait for anything but requests.
    public init(workers: Int? = nil) throws(Errno) {
        let loop = try ServerLoop()
        self.loop = loop
        let count = workers ?? min(max(sysconf(Int32(_SC_NPROCESSORS_ONLN)), 2), 16)
        // The threads hold the loop, not the server, whose end is theirs.
        threads.withLock { threads in
            threads = (0..<count).map { n in Thread("fuse-\(n)") { loop.run(n) } }
        }
    }

    deinit { stop() }

    /// Ends the threads, once each has answered what it is at. Not on one of them.
    public func stop() {
        loop.stop()
        let threads = threads.withLock { threads in
            defer { threads = [] }
            return threads
        }
        for thread in threads { thread.join() }
    }

    /// Begins to serve a session.
    public func add(_ session: Session) throws(Errno) { try loop.add(session) }

    /// Serves a session no longer: once this returns, no thread reads from it. Requests that are parked can still be
    /// answered. Not on a worker thread.
    public func remove(_ session: Session) { loop.remove(session) }
}
