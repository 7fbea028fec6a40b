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
    private var started = Instant(nanoseconds: 0)
    private var session: Session?
    private let answered = Atomic<Bool>(true)

    init() {}

    deinit { if !answered.load(ordering: .acquiring) { failed(.ioError) } }

    /// Whether the kernel queued it again after a takeover.
    public var isResent: Bool { unique & Protocol.resentBit != 0 }

    /// Whether the last READ was answered, so that another can be received (by a worker that alone holds this object).
    var isAnswered: Bool { answered.load(ordering: .acquiring) }

    /// `bytes`: a READ as the kernel sent it.
    func receive(_ bytes: UnsafeRawBufferPointer, _ session: Session) {
        if self.session !== session { self.session = session }
        unique = bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
        inode = bytes.loadUnaligned(fromByteOffset: 16, as: UInt64.self)
        handle = bytes.loadUnaligned(fromByteOffset: 40, as: UInt64.self)
        offset = bytes.loadUnaligned(fromByteOffset: 48, as: UInt64.self)
        count = Int(bytes.loadUnaligned(fromByteOffset: 56, as: UInt32.self))
        started = .now
        session.inFlight.add(1, ordering: .relaxed)
        answered.store(false, ordering: .releasing)
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

    public func failed(_ errno: Errno) {
        send(error: errno.rawValue, 0) { header in
            var header = header
            return session!.write(&header, 1)
        }
    }

    private func send(error: Int32, _ bytes: Int, _ write: (iovec) -> Int) {
        precondition(!answered.load(ordering: .relaxed), "a READ was answered twice")
        var header = Protocol.outHeader(Protocol.outHeaderBytes + bytes, -error, unique)
        withUnsafeMutableBytes(of: &header) { _ = write(iovec(iov_base: $0.baseAddress, iov_len: $0.count)) }
        session!.answered(
            Answer(
                operation: .read, inode: inode, started: started, errno: error == 0 ? nil : Errno(rawValue: error),
                bytes: bytes))
        // Last: from here on the worker may fill this object again.
        answered.store(true, ordering: .releasing)
    }
}
