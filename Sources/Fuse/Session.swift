import CFuse
import Glibc
import Logging
import Synchronization
import SystemPackage
import Threads

/// One FUSE connection, served through libfuse's low-level API over a descriptor of /dev/fuse that is already mounted.
///
/// libfuse parses and answers everything but READ, for which it would allocate and lock (see `ReadRequest`).
public final class Session: @unchecked Sendable {
    /// Why a connection ended.
    public enum Ending: Sendable, Equatable {
        case unmounted
        /// By /sys/fs/fuse/connections/N/abort or a forced unmount.
        case aborted
        case failed(Errno)
    }

    /// What became of the requests that the engine before had read and not answered.
    public enum Unanswered: Sendable, Equatable {
        /// The kernel asks them again.
        case resent
        /// These, by their `unique`, got EIO.
        case failed([UInt64])
    }

    public let operations: any Operations
    /// The handshake, to be kept for whoever takes the connection over.
    public private(set) var exchange: InitExchange!
    /// Whether opens may be answered with `passthrough`.
    public private(set) var hasPassthrough = false
    /// Requests that were received and not yet answered.
    public var requestsInFlight: Int { inFlight.load(ordering: .acquiring) }

    /// The connection; the session closes it. Pass a copy to who shall outlive us.
    public var descriptor: FileDescriptor { FileDescriptor(rawValue: fd) }

    let fd: Int32
    private let requests: RequestTable?
    let inFlight = Atomic<Int>(0)
    let waiting = WaitingRequests()
    /// Set when workers shall leave the descriptor alone.
    let isStopping = Atomic<Bool>(false)
    private let isSealed = Atomic<Bool>(false)
    let logger: Logger
    private(set) var raw: OpaquePointer!
    /// What happens to what libfuse writes while it sees FUSE_INIT.
    private var initAnswer: InitAnswer = .none
    private enum InitAnswer {
        case none
        case replace(with: [UInt8])
        case swallow
    }

    /// Waits for the kernel's FUSE_INIT on a descriptor that was just mounted, and answers it.
    ///
    /// Takes `descriptor` over: it is closed with the session, also when this throws. `passthrough`: have it where the
    /// kernel offers it and the process may (CAP_SYS_ADMIN). `requests`: where a successor finds what was under way.
    public static func start(
        _ descriptor: FileDescriptor, _ operations: any Operations, passthrough: Bool = true,
        requests: RequestTable? = nil, logger: Logger, deadline: Instant = .now.advanced(byMs: 10_000)
    ) throws(Errno) -> Session {
        let session = try Session(descriptor, operations, requests, logger)
        var bytes = try session.receiveInit(deadline)
        guard let exchange = InitExchange(request: bytes) else { throw .protocolError }
        session.finishInit(exchange, &bytes, .replace(with: exchange.answer(passthrough: passthrough)), passthrough)
        return session
    }

    /// Takes over a connection whose handshake is done: the new libfuse session sees the same FUSE_INIT, its answer is
    /// kept from the kernel. Then has the kernel queue again what was read from it and never answered. Where it can't
    /// (before Linux 6.9) or mustn't (`resends` is false), what `requests` has of it fails with EIO. Call it while
    /// nobody else serves the descriptor.
    public static func resume(
        _ descriptor: FileDescriptor, _ exchange: InitExchange, _ operations: any Operations, passthrough: Bool = true,
        requests: RequestTable? = nil, resends: Bool = true, logger: Logger
    ) throws(Errno) -> (session: Session, unanswered: Unanswered) {
        let session = try Session(descriptor, operations, requests, logger)
        var bytes = exchange.request
        session.finishInit(exchange, &bytes, .swallow, passthrough)
        let known = requests?.takeAll() ?? []
        if resends && session.requestResend() { return (session, .resent) }
        return (session, .failed(known.filter(session.fail)))
    }

    private init(
        _ descriptor: FileDescriptor, _ operations: any Operations, _ requests: RequestTable?, _ logger: Logger
    ) throws(Errno) {
        self.operations = operations
        self.requests = requests
        self.logger = logger
        fd = descriptor.rawValue
        let flags = fcntl(fd, F_GETFL)
        guard flags >= 0, fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 else { throw Errno(rawValue: Glibc.errno) }
        var callbacks = Callbacks.table
        raw = cfuse_session(&callbacks, Unmanaged.passUnretained(self).toOpaque(), fd) { fd, parts, count, userdata in
            Unmanaged<Session>.fromOpaque(userdata!)._withUnsafeGuaranteedRef { $0.send(parts!, count) }
        }
        guard raw != nil else {
            close(fd)
            throw .noMemory
        }
    }

    deinit { if let raw { fuse_session_destroy(raw) } }

    /// Has libfuse parse a request and call its operation.
    func process(_ bytes: UnsafeMutableRawBufferPointer) { cfuse_process(raw, bytes.baseAddress, bytes.count) }

    func answered(_ answer: Answer) {
        inFlight.subtract(1, ordering: .releasing)
        operations.answered(answer)
    }

    /// From here on no answer reaches the kernel, which may be told by another engine: what is unanswered is its to
    /// answer, with handles of its own. Once nobody serves the session.
    public func seal() {
        isSealed.store(true, ordering: .sequentiallyConsistent)
        // An answer that has passed the check already finds a descriptor that can't be written to.
        let nowhere = open("/dev/null", O_RDONLY | O_CLOEXEC)
        guard nowhere >= 0 else { return }
        dup2(nowhere, fd)
        _ = fcntl(fd, F_SETFD, FD_CLOEXEC)
        close(nowhere)
    }

    /// read(2) of the next request by a worker.
    func receive(into buffer: UnsafeMutableRawBufferPointer, lane: Int) -> Int {
        requests?.receive(fd, into: buffer, lane: lane) ?? read(fd, buffer.baseAddress, buffer.count)
    }

    /// Writes one whole message to the kernel; -1 with errno where it doesn't take it.
    func write(_ parts: UnsafePointer<iovec>, _ count: Int32) -> Int {
        if isSealed.load(ordering: .relaxed) {
            errno = EBADF
            return -1
        }
        while true {
            let n = writev(fd, parts, count)
            if n < 0 && errno == EINTR { continue }
            // Answered, or given up (ENOENT): nobody answers it again. Notifications have the number 0.
            if let requests, n >= 0 || errno == ENOENT, parts[0].iov_len >= Protocol.outHeaderBytes {
                let unique = parts[0].iov_base.load(fromByteOffset: 8, as: UInt64.self)
                if unique != 0 { requests.remove(unique) }
            }
            return n
        }
    }

    /// Answers EIO to a request that was never seen here. False where the kernel no longer waits for it.
    private func fail(_ unique: UInt64) -> Bool {
        var header = Protocol.outHeader(Protocol.outHeaderBytes, -EIO, unique)
        return withUnsafeMutableBytes(of: &header) {
            var part = iovec(iov_base: $0.baseAddress, iov_len: $0.count)
            return write(&part, 1) >= 0
        }
    }

    // MARK: - The handshake

    private func receiveInit(_ deadline: Instant) throws(Errno) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: Protocol.requestBufferBytes)
        while true {
            let n = read(fd, &bytes, bytes.count)
            if n > 0 { return Array(bytes.prefix(n)) }
            guard errno == EAGAIN || errno == EINTR else { throw Errno(rawValue: Glibc.errno) }
            var wanted = pollfd(fd: fd, events: Int16(POLLIN), revents: 0)
            guard Instant.now < deadline else { throw .timedOut }
            poll(&wanted, 1, Int32(min(deadline.ms(since: .now) + 1, 1000)))
        }
    }

    private func finishInit(
        _ exchange: InitExchange, _ bytes: inout [UInt8], _ answer: InitAnswer, _ passthrough: Bool
    ) {
        initAnswer = answer
        bytes.withUnsafeMutableBytes { process($0) }
        initAnswer = .none
        self.exchange = exchange
        hasPassthrough = exchange.accepted(passthrough: passthrough).contains(.passthrough)
    }

    /// What libfuse sends.
    private func send(_ parts: UnsafeMutablePointer<iovec>, _ count: Int32) -> Int {
        switch initAnswer {
        case .none:
            let n = write(parts, count)
            // ENOENT is the one error that libfuse doesn't print: the kernel no longer waits for the answer. The end of
            // the connection is told by read(2).
            if n < 0 && [ENODEV, ECONNABORTED, EBADF].contains(errno) { errno = ENOENT }
            return n
        case .swallow: return Self.total(parts, count)
        case .replace(var answer):
            let n = answer.withUnsafeMutableBytes { bytes in
                var part = iovec(iov_base: bytes.baseAddress, iov_len: bytes.count)
                return write(&part, 1)
            }
            return n < 0 ? n : Self.total(parts, count)
        }
    }

    private static func total(_ parts: UnsafeMutablePointer<iovec>, _ count: Int32) -> Int {
        UnsafeBufferPointer(start: parts, count: Int(count)).reduce(0) { $0 + $1.iov_len }
    }
}

extension Errno {
    static var protocolError: Errno { Errno(rawValue: Glibc.EPROTO) }
}
