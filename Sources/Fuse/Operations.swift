import SystemPackage
import Threads

/// What a file system answers. Calls come on the server's threads, many at once; none may block. A request that has to
/// wait is parked and answered later, from any thread.
///
/// What isn't here is answered for you: everything that writes gets EROFS, and what the kernel can do without a file
/// system (access, flush, fsync, locks, seek) gets ENOSYS, after which it no longer asks.
public protocol Operations: AnyObject, Sendable {
    /// Answer with an entry: the kernel then knows its inode once more, until `forget`.
    func lookup(_ request: consuming Request, name: UnsafeRawBufferPointer)
    func forget(inode: UInt64, lookups: UInt64)
    /// `handle`: the open file's that fstat(2) asks about, where the kernel says so.
    func attributes(_ request: consuming Request, handle: UInt64?)
    func open(_ request: consuming Request, flags: Int32)
    /// Answer with at most `read.count` bytes; fewer mean the end of the file.
    func read(_ read: ReadRequest)
    func release(_ request: consuming Request, handle: UInt64)
    func openDirectory(_ request: consuming Request)
    /// `cookie`: of the entry before, 0 at the start. `plus`: with attributes, and each entry counts as a lookup.
    func readDirectory(_ request: consuming Request, handle: UInt64, cookie: UInt64, count: Int, plus: Bool)
    func releaseDirectory(_ request: consuming Request, handle: UInt64)
    func fileSystemStatistics(_ request: consuming Request)
    /// `count`: the room for the value; 0 asks for its length.
    func extendedAttribute(_ request: consuming Request, name: String, count: Int)
    func extendedAttributeNames(_ request: consuming Request, count: Int)

    /// A request was answered, on the answering thread. For figures and logs; must not block.
    func answered(_ answer: Answer)
    /// The kernel ended the connection. On a worker thread; must not block or call the server.
    func ended(_ ending: Session.Ending)
}

/// The operations by name, for figures.
public enum Operation: UInt8, Sendable, CaseIterable {
    case lookup, forget, getattr, open, read, release, opendir, readdir, readdirplus, releasedir, statfs, getxattr,
        listxattr, write
}

/// One answer, as it was sent.
public struct Answer: Sendable {
    public var operation: Operation
    public var inode: UInt64
    /// When the request was received.
    public var started: Instant
    /// Nil: it succeeded.
    public var errno: Errno?
    public var bytes: Int
}
