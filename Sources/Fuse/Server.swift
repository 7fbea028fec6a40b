import CFuse
import Glibc
import Logging
import Synchronization
import SystemPackage
import Threads

/// Threads that read requests from the descriptors of many sessions and have them answered. They sleep while there is
/// no request: an idle mount costs no wake-up.
///
/// All wait in one epoll, edge-triggered: each arrival wakes one thread, which then reads that session's requests until
/// there are none. A request that arrives meanwhile wakes another thread, so slow ones don't hold up others.
public final class Server: Sendable {
    private final class Slot {
        let session: Session
        /// Threads that are in `serve`.
        var active = 0
        init(_ session: Session) { self.session = session }
    }
    /// Under `lock`.
    private final class State: @unchecked Sendable {
        var slots: [UInt64: Slot] = [:]
        var removed: [Slot] = []
        var lastID = Server.wakeID
    }

    private let epoll: Int32
    private let wake: Int32
    private let lock = Lock()
    private let idle: Condition
    private let state = State()
    private let threads = Locked<[Thread]>([])
    private static let wakeID: UInt64 = 0
    /// Requests that a thread takes from one session before it looks at the others.
    private static let batch = 64

    /// `workers`: threads; by default one a core, at least 2 and at most 16. They never wait for anything but requests.
    public init(workers: Int? = nil) throws(Errno) {
        idle = Condition(lock)
        epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        guard epoll >= 0 else { throw Errno(rawValue: errno) }
        wake = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
        guard wake >= 0 else { throw Errno(rawValue: errno) }
        var event = epoll_event(events: EPOLLIN.rawValue, data: epoll_data_t(u64: Self.wakeID))
        guard epoll_ctl(epoll, EPOLL_CTL_ADD, wake, &event) == 0 else { throw Errno(rawValue: errno) }
        let count = workers ?? min(max(sysconf(Int32(_SC_NPROCESSORS_ONLN)), 2), 16)
        threads.withLock { threads in
            threads = (0..<count).map { n in Thread("fuse-\(n)") { [unowned self] in self.run() } }
        }
    }

    deinit {
        stop()
        close(wake)
        close(epoll)
    }

    /// Ends the threads, once each has answered what it is at. Not on one of them.
    public func stop() {
        var one: UInt64 = 1
        _ = write(wake, &one, 8)
        let threads = threads.withLock { threads in
            defer { threads = [] }
            return threads
        }
        for thread in threads { thread.join() }
    }

    /// Begins to serve a session.
    public func add(_ session: Session) throws(Errno) {
        let id = lock.withLock {
            state.lastID += 1
            state.slots[state.lastID] = Slot(session)
            return state.lastID
        }
        session.isStopping.store(false, ordering: .relaxed)
        var event = epoll_event(events: Self.edges, data: epoll_data_t(u64: id))
        guard epoll_ctl(epoll, EPOLL_CTL_ADD, session.fd, &event) == 0 else {
            let error = Errno(rawValue: errno)
            lock.withLock { state.slots[id] = nil }
            throw error
        }
    }

    /// Serves a session no longer: once this returns, no thread reads from it. Requests that are parked can still be
    /// answered. Not on a worker thread.
    public func remove(_ session: Session) {
        lock.withLock {
            session.isStopping.store(true, ordering: .relaxed)
            if let (id, slot) = state.slots.first(where: { $0.value.session === session }) { drop(id, slot) }
            while state.removed.contains(where: { $0.session === session }) { _ = idle.wait() }
        }
    }

    private static let edges = EPOLLIN.rawValue | EPOLLET.rawValue

    /// Under the lock. The slot is forgotten once its last thread has left it.
    private func drop(_ id: UInt64, _ slot: Slot) {
        state.slots[id] = nil
        epoll_ctl(epoll, EPOLL_CTL_DEL, slot.session.fd, nil)
        if slot.active > 0 { state.removed.append(slot) }
    }

    // MARK: - The workers

    private func run() {
        let worker = Worker()
        while true {
            var event = epoll_event()
            // One event a time: two sessions with work are two threads' work.
            let n = epoll_wait(epoll, &event, 1, -1)
            if n < 0 && errno == EINTR { continue }
            if n < 0 || event.data.u64 == Self.wakeID { return }
            serve(event.data.u64, worker)
        }
    }

    private func serve(_ id: UInt64, _ worker: Worker) {
        let found = lock.withLock { () -> Slot? in
            guard let slot = state.slots[id] else { return nil }
            slot.active += 1
            return slot
        }
        guard let slot = found else { return }
        var ending: Session.Ending?
        switch worker.serve(slot.session, atMost: Self.batch) {
        case .drained: break
        case .more:
            // Raises the edge again, so that this session queues up behind the others.
            var event = epoll_event(events: Self.edges, data: epoll_data_t(u64: id))
            epoll_ctl(epoll, EPOLL_CTL_MOD, slot.session.fd, &event)
        case .ended(let why): ending = why
        }
        let isFirst = lock.withLock {
            slot.active -= 1
            let isFirst = ending != nil && state.slots[id] != nil
            if isFirst { drop(id, slot) }
            if slot.active == 0 {
                state.removed.removeAll { $0 === slot }
                idle.broadcast()
            }
            return isFirst
        }
        if isFirst, let ending { slot.session.operations.ended(ending) }
    }
}
