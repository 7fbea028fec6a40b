import CFuse
import Glibc
import Synchronization
import SystemPackage
import Threads

/// One request of the kernel, to be answered exactly once: each reply consumes it. One that is dropped is answered
/// with EIO, so that no caller hangs.
///
/// Replies answer false where the kernel has given the request up (the mount is gone): then it doesn't know of what the
/// answer told it, such as a handle or a lookup.
public struct Request: ~Copyable, @unchecked Sendable {
    private let raw: fuse_req_t
    private let session: Unmanaged<Session>
    private let started: Instant
    public let operation: Operation
    /// The inode that is asked about; of a lookup, the directory's.
    public let inode: UInt64
    /// The kernel's number of this request.
    public let unique: UInt64

    init(_ raw: fuse_req_t, _ operation: Operation, inode: UInt64) {
        self.raw = raw
        self.operation = operation
        self.inode = inode
        session = Unmanaged<Session>.fromOpaque(fuse_req_userdata(raw)!).retain()
        started = .now
        unique = cfuse_current_unique()
        session._withUnsafeGuaranteedRef { _ = $0.inFlight.add(1, ordering: .relaxed) }
    }

    deinit { Self.finish(raw, session, started, operation, inode, EIO) { fuse_reply_err($0, EIO) } }

    /// Waits for its answer on another thread.
    public consuming func park() -> ParkedRequest { ParkedRequest(self) }

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
        _ raw: fuse_req_t, _ session: Unmanaged<Session>, _ started: Instant, _ operation: Operation, _ inode: UInt64,
        _ errno: Int32, _ bytes: Int = 0, _ body: (fuse_req_t) -> Int32
    ) -> Bool {
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
    private var request: Request?
    private let taken = Atomic<Bool>(false)

    init(_ request: consuming Request) { self.request = consume request }

    /// The request, to be answered now. Once: a second call is a programming error.
    public func resume() -> Request {
        precondition(!taken.exchange(true, ordering: .acquiringAndReleasing), "a parked request was answered twice")
        return request.take()!
    }
}
