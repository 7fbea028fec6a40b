import CCurl
import Glibc
import Synchronization
import Threads

/// One thread that runs many transfers: curl's multi interface on epoll, an inbox of work from other threads, timers.
///
/// What is marked "on the thread" may be called only there, that is from an action, a timer or a delegate. Actions run
/// outside of curl's callbacks, so they may add and remove transfers; delegates must not (curl is not re-entrant) and
/// use `perform` instead.
public final class TransferThread: @unchecked Sendable {
    private struct Inbox {
        var actions: [@Sendable () -> Void] = []
        var isClosed = false
    }

    private let multi: UnsafeMutableRawPointer
    private let epoll: Int32
    private let wakeup: Int32
    private let inbox = Locked(Inbox())
    private let stopping = Atomic<Bool>(false)
    private let identity = Atomic<UInt>(0)
    private var thread: Thread?

    // State of the thread itself.
    private var timers = TimerHeap()
    private var curlDeadline: Instant?
    private var running: [UnsafeMutableRawPointer: Easy] = [:]
    private var spare: [Easy] = []
    private var works: [ObjectIdentifier: any TransferWork] = [:]

    private static let globalInit: Void = { curl_global_init(Int(CURL_GLOBAL_ALL)) }()

    /// Idle connections kept open at most, and handles kept for reuse.
    private static let maxIdle = 256

    /// `name`: at most 15 bytes are seen by `top -H`.
    public init(_ name: String = "transfer") {
        _ = Self.globalInit
        multi = curl_multi_init()!
        epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        wakeup = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
        precondition(epoll >= 0 && wakeup >= 0, "epoll_create1 or eventfd failed: \(errno)")
        var event = epoll_event(events: EPOLLIN.rawValue, data: epoll_data_t(fd: wakeup))
        epoll_ctl(epoll, EPOLL_CTL_ADD, wakeup, &event)

        let context = Unmanaged.passUnretained(self).toOpaque()
        _ = ccurl_multi_set_events(
            multi,
            { _, socket, what, context, known in
                let thread = Unmanaged<TransferThread>.fromOpaque(context!).takeUnretainedValue()
                thread.watch(socket, what, known: known != nil)
                return 0
            },
            { _, ms, context in
                let thread = Unmanaged<TransferThread>.fromOpaque(context!).takeUnretainedValue()
                thread.curlDeadline = ms < 0 ? nil : Instant.now.advanced(byMs: ms)
                return 0
            }, context)
        _ = ccurl_multi_set_long(multi, CURLMOPT_MAXCONNECTS, Self.maxIdle)
        _ = ccurl_multi_set_long(multi, CURLMOPT_PIPELINING, 0)
        thread = Thread(name) { [self] in loop() }
    }

    deinit {
        curl_multi_cleanup(multi)
        close(epoll)
        close(wakeup)
    }

    // MARK: From any thread

    /// Runs the action on the thread, soon. False: the thread has stopped, and the action is dropped.
    @discardableResult
    public func perform(_ action: @escaping @Sendable () -> Void) -> Bool {
        let (isOpen, isFirst) = inbox.withLock { inbox in
            if inbox.isClosed { return (false, false) }
            inbox.actions.append(action)
            return (true, inbox.actions.count == 1)
        }
        if isFirst && !isCurrent { signal() }
        return isOpen
    }

    public var isCurrent: Bool { UInt(pthread_self()) == identity.load(ordering: .relaxed) }

    /// Ends all work and transfers (delegates hear CURLE_ABORTED_BY_CALLBACK) and the thread; waits for it unless called on it.
    public func stop() {
        stopping.store(true, ordering: .releasing)
        signal()
        if !isCurrent { thread?.join() }
    }

    // MARK: On the thread

    /// A handle without options.
    public func takeEasy() -> Easy {
        spare.popLast() ?? Easy()
    }

    /// Gives a handle back that doesn't run.
    public func giveBack(_ easy: Easy) {
        precondition(!easy.isRunning)
        if easy.hasFailed { return }
        easy.reset()
        if spare.count < Self.maxIdle { spare.append(easy) }
    }

    /// Starts a transfer; the delegate is held until it has finished or was removed.
    public func add(_ easy: Easy, _ delegate: any TransferDelegate) {
        precondition(!easy.isRunning)
        easy.delegate = delegate
        easy.applyHeaders()
        easy.isRunning = true
        running[easy.handle] = easy
        let code = curl_multi_add_handle(multi, easy.handle)
        precondition(code == CURLM_OK, "curl_multi_add_handle: \(code.rawValue)")
    }

    /// Ends a transfer without a word to its delegate; its connection is closed unless the answer was complete.
    public func remove(_ easy: Easy) {
        guard easy.isRunning else { return }
        easy.hasFailed = true
        forget(easy)
    }

    /// Runs the action at the deadline.
    @discardableResult
    public func at(_ deadline: Instant, _ action: @escaping () -> Void) -> Timer {
        timers.add(deadline, action)
    }

    public func cancel(_ timer: Timer) { timers.cancel(timer) }

    public var runningCount: Int { running.count }

    /// Keeps a piece of work, which may wait for more than one transfer, until `finished`, and ends it at `stop`.
    public func began(_ work: any TransferWork) { works[ObjectIdentifier(work)] = work }
    public func finished(_ work: any TransferWork) { works[ObjectIdentifier(work)] = nil }

    // MARK: The loop

    private func loop() {
        identity.store(UInt(pthread_self()), ordering: .relaxed)
        var events = [epoll_event](repeating: epoll_event(), count: 64)
        while !stopping.load(ordering: .acquiring) {
            runActions()
            runTimers()
            let ready = epoll_wait(epoll, &events, Int32(events.count), waitMs())
            for i in 0..<max(0, Int(ready)) { handle(events[i]) }
            if let deadline = curlDeadline, deadline <= .now {
                curlDeadline = nil
                act(CURL_SOCKET_TIMEOUT, 0)
            }
            reportFinished()
        }
        endAll()
    }

    private func endAll() {
        let left = inbox.withLock { inbox in
            inbox.isClosed = true
            defer { inbox.actions = [] }
            return inbox.actions
        }
        for action in left { action() }
        while let work = works.values.first {
            works[ObjectIdentifier(work)] = nil
            work.threadStops()
        }
        while let easy = running.values.first { finish(easy, CURLE_ABORTED_BY_CALLBACK) }
        timers = TimerHeap()
        spare = []
    }

    private func handle(_ event: epoll_event) {
        if event.data.fd == wakeup {
            var count: UInt64 = 0
            _ = read(wakeup, &count, 8)
            return
        }
        var bits: Int32 = 0
        if event.events & EPOLLIN.rawValue != 0 { bits |= CURL_CSELECT_IN }
        if event.events & EPOLLOUT.rawValue != 0 { bits |= CURL_CSELECT_OUT }
        if event.events & (EPOLLERR.rawValue | EPOLLHUP.rawValue) != 0 { bits |= CURL_CSELECT_ERR }
        act(event.data.fd, bits)
    }

    private func act(_ socket: curl_socket_t, _ bits: Int32) {
        var stillRunning: Int32 = 0
        _ = curl_multi_socket_action(multi, socket, bits, &stillRunning)
    }

    private func reportFinished() {
        var left: Int32 = 0
        while let message = curl_multi_info_read(multi, &left) {
            guard message.pointee.msg == CURLMSG_DONE, let handle = message.pointee.easy_handle,
                let easy = running[handle]
            else { continue }
            finish(easy, ccurl_message_result(message))
        }
    }

    private func finish(_ easy: Easy, _ code: CURLcode) {
        let delegate = easy.delegate
        easy.hasFailed = code != CURLE_OK
        forget(easy)
        delegate?.transfer(easy, finished: code)
    }

    private func forget(_ easy: Easy) {
        curl_multi_remove_handle(multi, easy.handle)
        running[easy.handle] = nil
        easy.isRunning = false
        easy.delegate = nil
    }

    /// All that is there now; what actions add meanwhile runs in the next round, after the sockets had their turn.
    private func runActions() {
        let actions = inbox.withLock { inbox in
            let actions = inbox.actions
            inbox.actions = []
            return actions
        }
        for action in actions { action() }
    }

    private func runTimers() {
        guard timers.next != nil else { return }
        let now = Instant.now
        while let action = timers.popDue(now) { action() }
    }

    private func waitMs() -> Int32 {
        if inbox.withLock({ !$0.actions.isEmpty }) { return 0 }
        let next = min(timers.next ?? .distantFuture, curlDeadline ?? .distantFuture)
        return next == .distantFuture ? -1 : Int32(clamping: Int(next.ms(since: .now).rounded(.up)))
    }

    private func signal() {
        var one: UInt64 = 1
        _ = write(wakeup, &one, 8)
    }

    /// Curl asks for events of a socket. `known`: asked before, as `curl_multi_assign` was given a mark.
    private func watch(_ socket: curl_socket_t, _ what: Int32, known: Bool) {
        if what == CURL_POLL_REMOVE {
            epoll_ctl(epoll, EPOLL_CTL_DEL, socket, nil)
            curl_multi_assign(multi, socket, nil)
            return
        }
        var mask: UInt32 = 0
        if what & CURL_POLL_IN != 0 { mask |= EPOLLIN.rawValue }
        if what & CURL_POLL_OUT != 0 { mask |= EPOLLOUT.rawValue }
        var event = epoll_event(events: mask, data: epoll_data_t(fd: socket))
        if epoll_ctl(epoll, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, socket, &event) != 0 {
            // A descriptor number that came back with another socket behind it.
            epoll_ctl(epoll, known ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, socket, &event)
        }
        if !known { curl_multi_assign(multi, socket, UnsafeMutableRawPointer(bitPattern: 1)) }
    }
}

/// Work on a thread that has to hear when the thread stops.
public protocol TransferWork: AnyObject {
    /// On the thread; no timer and no action runs any more afterwards.
    func threadStops()
}
