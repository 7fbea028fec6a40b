import CFuse
import Glibc
import Synchronization
import SystemPackage
import Threads

/// What the server's threads share.
///
/// All wait in one epoll, edge-triggered: each arrival wakes one thread, which then reads that session's requests until
/// there are none. A request that arrives meanwhile wakes another thread, so slow ones don't hold up others.
final class ServerLoop: Sendable {
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
        var lastID = ServerLoop.wakeID
    }

    private let epoll: Int32
    private let wake: Int32
    private let lock = Lock()
    private let idle: Condition
    private let state = State()
    private static let wakeID: UInt64 = 0
    private static let edges = EPOLLIN.rawValue | EPOLLET.rawValue
    /// Requests that a thread takes from one session before it looks at the others.
    private static let batch = 64

    init() throws(Errno) {
        idle = Condition(lock)
        epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        wake = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
        var event = epoll_event(events: EPOLLIN.rawValue, data: epoll_data_t(u64: Self.wakeID))
        guard epoll >= 0, wake >= 0, epoll_ctl(epoll, EPOLL_CTL_ADD, wake, &event) == 0 else {
            throw Errno(rawValue: errno)
        }
    }

    deinit {
        close(wake)
        close(epoll)
    }

    /// Has every thread end that is in `run`, or comes there.
    func stop() {
        var one: UInt64 = 1
        _ = write(wake, &one, 8)
    }

    func add(_ session: Session) throws(Errno) {
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

    func remove(_ session: Session) {
        lock.withLock {
            session.isStopping.store(true, ordering: .relaxed)
            if let (id, slot) = state.slots.first(where: { $0.value.session === session }) { drop(id, slot) }
            while state.removed.contains(where: { $0.session === session }) { _ = idle.wait() }
        }
    }

    /// Under the lock. The slot is forgotten once its last thread has left it.
    private func drop(_ id: UInt64, _ slot: Slot) {
        state.slots[id] = nil
        epoll_ctl(epoll, EPOLL_CTL_DEL, slot.session.fd, nil)
        if slot.active > 0 { state.removed.append(slot) }
    }

    /// What each thread does; `number` is the thread's.
    func run(_ number: Int) {
        let worker = Worker(lane: number)
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
