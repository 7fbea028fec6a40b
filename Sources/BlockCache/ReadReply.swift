import Glibc
import SystemPackage

/// Whoever asked for bytes; gets exactly one of the calls, on the asking thread or on a transfer thread.
public protocol ReadReply: AnyObject, Sendable {
    /// The answer: all of `iov`'s bytes, none at the end of the file. They stay valid during the call only.
    func data(_ iov: UnsafeBufferPointer<iovec>)
    func failed(_ errno: Errno)
}
