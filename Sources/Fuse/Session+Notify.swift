import CFuse
import Glibc
import SystemPackage

/// What a file system tells the kernel unasked. Invalidations wait for the kernel's locks of the inode, which requests
/// of that inode may hold: never call them on a thread that answers requests.
extension Session {
    /// Drops the cached attributes of an inode and its pages, or those of a range.
    public func invalidate(inode: UInt64, _ bytes: Range<UInt64>? = nil) throws(Errno) {
        let bytes = bytes ?? 0..<0
        // A length of 0 means up to the end.
        try check(fuse_lowlevel_notify_inval_inode(raw, inode, off_t(bytes.lowerBound), off_t(bytes.count)))
    }

    /// Drops a name from a directory's cache.
    public func invalidate(name: UnsafeRawBufferPointer, in directory: UInt64) throws(Errno) {
        // libfuse sends the byte after the name, too, which has to be a zero.
        let terminated = name.map { CChar(bitPattern: $0) } + [0]
        try check(fuse_lowlevel_notify_inval_entry(raw, directory, terminated, name.count))
    }

    private func check(_ status: Int32) throws(Errno) {
        // ENOENT: the kernel doesn't know the inode or name, so there is nothing to drop.
        if status < 0 && status != -ENOENT { throw Errno(rawValue: -status) }
    }

    /// FUSE_NOTIFY_RESEND: queues again every request that was read and not answered. False where the kernel can't.
    func requestResend() -> Bool {
        guard exchange.offered.contains(.resend) else { return false }
        var message = Protocol.outHeader(Protocol.outHeaderBytes, Protocol.notifyResend, 0)
        return withUnsafeMutableBytes(of: &message) {
            var part = iovec(iov_base: $0.baseAddress, iov_len: $0.count)
            return write(&part, 1) == part.iov_len
        }
    }

    /// Passes a file to the kernel, to read it without us: the backing id for `OpenReply.Mode.passthrough`.
    public func openBacking(_ file: FileDescriptor) throws(Errno) -> Int32 {
        let id = cfuse_backing_open(fd, file.rawValue)
        guard id > 0 else { throw Errno(rawValue: id == 0 ? EIO : -id) }
        return id
    }

    public func closeBacking(_ id: Int32) { _ = cfuse_backing_close(fd, id) }
}

extension Request {
    /// Whether the kernel queued the request again after a takeover: the engine before may have begun it.
    public var isResent: Bool { unique & Protocol.resentBit != 0 }
    /// `unique` as it was when the request was sent first.
    public var originalUnique: UInt64 { Self.original(unique) }
    public static func original(_ unique: UInt64) -> UInt64 { unique & ~Protocol.resentBit }
}
