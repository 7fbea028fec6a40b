import CFuse
import Glibc
import Synchronization
import SystemPackage
import Threads

/// One request of the kernel, to be answered exactly once: each reply consumes it. One that is dropped is answered
/// with EIO, so that no caller hangs.
///
/// Replies answer false where nobody waits for them any more (the mount is gone, or a signal ended the wait): then the
/// kernel doesn't know of what the answer told it, such as a handle or a lookup.
public struct Request: ~Copyable, @unchecked Sendable {
    /// Nil: answered already.
    private let raw: fuse_req_t?
    private let session: Unmanaged<Session>
    private let started: Instant
    public let operation: Operation
    /// The inode that is asked about; of a lookup, the directory's.
    public let inode: UInt64
    /// The kernel's number of this request.
    public let unique: UInt64
    /// The thread that waits; see `Interruptible`.
    let thread: UInt32

    init(_ raw: fuse_req_t, _ operation: Operation, inode: UInt64) {
        self.raw = raw
        self.operation = operation
        self.inode = inode
        session = Unmanaged<Session>.fromOpaque(fuse_req_userdata(raw)!).retain()
        started = .now
        unique = cfuse_current_unique()
        thread = UInt32(bitPattern: fuse_req_ctx(raw).pointee.pid)
        session._withUnsafeGuaranteedRef { _ = $0.inFlight.add(1, ordering: .relaxed) }
    }

    /// What is left of a request that was answered without its owner.
    fileprivate init(answered request: borrowing Request) {
        raw = nil
        session = request.session
        started = request.started
        operation = request.operation
        inode = request.inode
        unique = request.unique
        thread = request.thread
    }

    deinit { Self.finish(raw, session, started, operation, inode, EIO) { fuse_reply_err($0, EIO) } }

    /// Waits for its answer on another thread. A signal that ends the program which asked ends the wait.
    public consuming func park() -> ParkedRequest {
        let waiting = session._withUnsafeGuaranteedRef { $0.waiting }
        let unique = unique
        let parked = ParkedRequest(self, waiting)
        waiting.add(unique, parked)
        return parked
    }

    @discardableResult
    public consuming func fail(_ errno: Errno) -> Bool {
        send(errno: errno.rawValue) { fuse_reply_err($0, errno.rawValue) }
    }

    /// Success where there is nothing to say.
    @discardableResult
    public consuming func reply() -> Bool { send { fuse_reply_err($0, 0) } }

    @discardableResult
    public consuming func reply(entry: FileAttributes, _ validity: Validity) -> Bool {
        var out = fuse_entry_param()
        out.ino = entry.inode
        out.attr = entry.status
        out.entry_timeout = Validity.seconds(validity.entryMs)
        out.attr_timeout = Validity.seconds(validity.attributesMs)
        return send { fuse_reply_entry($0, &out) }
    }

    /// No such name, which the kernel may remember for `ms` milliseconds.
    @discardableResult
    public consuming func reply(noEntryForMs ms: Int) -> Bool {
        guard ms > 0 else { return fail(.noSuchFileOrDirectory) }
        var out = fuse_entry_param()
        out.entry_timeout = Validity.seconds(ms)
        return send(errno: ENOENT) { fuse_reply_entry($0, &out) }
    }

    @discardableResult
    public consuming func reply(attributes: FileAttributes, forMs ms: Int) -> Bool {
        var status = attributes.status
        return send { fuse_reply_attr($0, &status, Validity.seconds(ms)) }
    }

    @discardableResult
    public consuming func reply(open: OpenReply) -> Bool {
        var out = open.bytes
        return send { fuse_reply_buf($0, &out, 16) }
    }

    @discardableResult
    public consuming func reply(directory: OpenDirectoryReply) -> Bool {
        var out = directory.bytes
        return send { fuse_reply_buf($0, &out, 16) }
    }

    @discardableResult
    public consuming func reply(bytes: UnsafeRawBufferPointer) -> Bool {
        let pointer = bytes.baseAddress?.assumingMemoryBound(to: CChar.self)
        return send(bytes: bytes.count) { fuse_reply_buf($0, pointer, bytes.count) }
    }

    /// An extended attribute's value, or list of names: itself, its length, or ERANGE, as `count` asks.
    @discardableResult
    public consuming func reply(extendedAttribute value: [UInt8], count: Int) -> Bool {
        if count == 0 { return send { fuse_reply_xattr($0, value.count) } }
        guard value.count <= count else { return fail(.outOfRange) }
        return send(bytes: value.count) { raw in
            value.withUnsafeBytes {
                fuse_reply_buf(raw, $0.baseAddress?.assumingMemoryBound(to: CChar.self), value.count)
            }
        }
    }

    @discardableResult
    public consuming func reply(statistics: FileSystemStatistics) -> Bool {
        var out = statistics.status
        return send { fuse_reply_statfs($0, &out) }
    }

    private consuming func send(errno: Int32 = 0, bytes: Int = 0, _ body: (fuse_req_t) -> Int32) -> Bool {
        let sent = Self.finish(raw, session, started, operation, inode, errno, bytes, body)
        discard self
        return sent
    }

    @discardableResult
    private static func finish(
        _ raw: fuse_req_t?, _ session: Unmanaged<Session>, _ started: Instant, _ operation: Operation, _ inode: UInt64,
        _ errno: Int32, _ bytes: Int = 0, _ body: (fuse_req_t) -> Int32
    ) -> Bool {
        guard let raw else { return false }
        let status = body(raw)
        session._withUnsafeGuaranteedRef {
            $0.answered(
                Answer(
                    operation: operation, inode: inode, started: started,
                    errno: errno == 0 ? nil : Errno(rawValue: errno), bytes: bytes))
        }
        session.release()
        return status == 0
    }
}

extension Errno {
    static var outOfRange: Errno { Errno(rawValue: Glibc.ERANGE) }
}

/// A request that waits for its answer. Dropped without one, it is answered with EIO.
public final class ParkedRequest: @unchecked Sendable {
    private enum State: UInt8, AtomicRepresentable { case waiting, taken, interrupted }

    /// Owned by whoever changes the state from `waiting`.
    private var request: Request?
    /// What its owner gets where it was interrupted.
    private var spent: Request?
    private let state = Atomic<State>(.waiting)
    private let waiting: WaitingRequests
    private let unique: UInt64
    let thread: UInt32

    fileprivate init(_ request: consuming Request, _ waiting: WaitingRequests) {
        unique = request.unique
        thread = request.thread
        self.waiting = waiting
        spent = Request(answered: request)
        self.request = consume request
    }

    deinit { if state.load(ordering: .acquiring) == .waiting { waiting.remove(unique) } }

    /// The request, to be answered now. Once: a second call is a programming error.
    public func resume() -> Request {
        switch state.exchange(.taken, ordering: .acquiringAndReleasing) {
        case .waiting:
            waiting.remove(unique)
            return request.take()!
        case .interrupted: return spent.take()!
        case .taken: preconditionFailure("a parked request was answered twice")
        }
    }
}

extension ParkedRequest: Interruptible {
    func interrupt() {
        let (isMine, _) = state.compareExchange(
            expected: .waiting, desired: .interrupted, ordering: .acquiringAndReleasing)
        guard isMine else { return }
        waiting.remove(unique)
        request.take()!.fail(.interrupted)
    }
}
