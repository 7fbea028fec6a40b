import Glibc
import Synchronization
import SystemPackage
import Threads

/// A READ: the one operation that must cost nothing. Each worker has one of these and uses it again for its next READ
/// once it is answered and nobody else holds it; one that waits for S3 is left to those who hold it. So a read that is
/// answered at once allocates nothing, and its bytes go from where they lie to the kernel in one writev(2).
///
/// Answer exactly once, from any thread; dropped without an answer, it fails with EIO.
public final class ReadRequest: @unchecked Sendable {
    public private(set) var inode: UInt64 = 0
    public private(set) var handle: UInt64 = 0
    public private(set) var offset: UInt64 = 0
    /// Bytes that are wanted.
    public private(set) var count = 0
    private var unique: UInt64 = 0
    private(set) var thread: UInt32 = 0
    private var started = Instant(nanoseconds: 0)
    private var session: Session?
    private let state = Atomic<State>(.answered)
    /// An INTERRUPT can find it.
    private let isRegistered = Atomic<Bool>(false)

    private enum State: UInt8, AtomicRepresentable {
        case waiting
        /// Somebody is at it.
        case answering
        case answered
        /// Answered with EINTR: the answer that is still to come is thrown away.
        case interrupted
    }

    init() {}

    deinit { if state.load(ordering: .acquiring) == .waiting { failed(.ioError) } }

    /// Whether the kernel queued it again after a takeover.
    public var isResent: Bool { unique & Protocol.resentBit != 0 }

    /// Whether the last READ was answered, so that another can be received (by a worker that alone holds this object).
    var isAnswered: Bool {
        switch state.load(ordering: .acquiring) {
        case .answered, .interrupted: true
        case .waiting, .answering: false
        }
    }

    /// `bytes`: a READ as the kernel sent it.
    func receive(_ bytes: UnsafeRawBufferPointer, _ session: Session) {
        if self.session !== session { self.session = session }
        unique = bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
        inode = bytes.loadUnaligned(fromByteOffset: 16, as: UInt64.self)
        thread = bytes.loadUnaligned(fromByteOffset: 32, as: UInt32.self)
        handle = bytes.loadUnaligned(fromByteOffset: 40, as: UInt64.self)
        offset = bytes.loadUnaligned(fromByteOffset: 48, as: UInt64.self)
        count = Int(bytes.loadUnaligned(fromByteOffset: 56, as: UInt32.self))
        started = .now
        session.inFlight.add(1, ordering: .relaxed)
        isRegistered.store(false, ordering: .relaxed)
        state.store(.waiting, ordering: .releasing)
    }

    /// The operation has returned without an answer: from here on a signal can end the wait.
    func awaitInterrupt() {
        isRegistered.store(true, ordering: .sequentiallyConsistent)
        session!.waiting.add(unique, self)
        // Answered meanwhile, by a thread that may not have seen that it is registered.
        if state.load(ordering: .sequentiallyConsistent) != .waiting { session!.waiting.remove(unique) }
    }

    /// Sends the bytes of `parts`, in order. They must stay valid during the call only.
    public func data(_ parts: UnsafeBufferPointer<iovec>) {
        let total = parts.reduce(0) { $0 + $1.iov_len }
        guard total <= count, parts.count < 1024 else { return failed(.ioError) }
        send(error: 0, total) { header in
            withUnsafeTemporaryAllocation(of: iovec.self, capacity: parts.count + 1) { all in
                all[0] = header
                for i in 0..<parts.count { all[i + 1] = parts[i] }
                return session!.write(all.baseAddress!, Int32(all.count))
            }
        }
    }

    public func failed(_ errno: Errno) { send(errno, as: .answered) }

    private func send(_ errno: Errno, as end: State) {
        send(error: errno.rawValue, 0, as: end) { header in
            var header = header
            return session!.write(&header, 1)
        }
    }

    private func send(error: Int32, _ bytes: Int, as end: State = .answered, _ write: (iovec) -> Int) {
        let (isMine, was) = state.compareExchange(
            expected: .waiting, desired: .answering, ordering: .sequentiallyConsistent)
        guard isMine else {
            precondition(end == .interrupted || was != .answered, "a READ was answered twice")
            return
        }
        if isRegistered.load(ordering: .sequentiallyConsistent) { session!.waiting.remove(unique) }
        var header = Protocol.outHeader(Protocol.outHeaderBytes + bytes, -error, unique)
        withUnsafeMutableBytes(of: &header) { _ = write(iovec(iov_base: $0.baseAddress, iov_len: $0.count)) }
        session!.answered(
            Answer(
                operation: .read, inode: inode, started: started, errno: error == 0 ? nil : Errno(rawValue: error),
                bytes: bytes))
        // Last: from here on the worker may fill this object again.
        state.store(end, ordering: .releasing)
    }
}

extension ReadRequest: Interruptible {
    func interrupt() { send(.interrupted, as: .interrupted) }
}
