import CLinux
import Glibc
import SystemPackage

extension Errno {
    /// The error of the C call that just failed.
    static var current: Errno { Errno(rawValue: Glibc.errno) }
}

/// An open descriptor that is closed with its last reference.
public final class Descriptor: Sendable {
    public let raw: Int32

    /// Takes `raw` over.
    public init(_ raw: Int32) {
        precondition(raw >= 0, "not a descriptor: \(raw)")
        self.raw = raw
    }

    deinit { close(raw) }

    /// Another descriptor of the same open file, owned by the caller.
    public func duplicate() throws(NodeError) -> Descriptor {
        let copy = clinux_duplicate(raw)
        guard copy >= 0 else { throw .last("dup") }
        return Descriptor(copy)
    }

    /// A duplicate as swift-system has it, which the caller closes.
    public func duplicated() throws(NodeError) -> FileDescriptor {
        let copy = clinux_duplicate(raw)
        guard copy >= 0 else { throw .last("dup") }
        return FileDescriptor(rawValue: copy)
    }

    /// Empty memory behind a descriptor, to be grown with ftruncate(2). Lives as long as somebody holds it.
    public static func memory(_ name: String) throws(NodeError) -> Descriptor {
        let raw = clinux_memory_file(name)
        guard raw >= 0 else { throw .last("memfd_create") }
        return Descriptor(raw)
    }

    /// Memory with these bytes that nobody can change any more.
    public static func sealed(_ name: String, _ bytes: [UInt8]) throws(NodeError) -> Descriptor {
        let memory = try memory(name)
        var written = 0
        while written < bytes.count {
            let n = bytes.withUnsafeBytes { write(memory.raw, $0.baseAddress! + written, bytes.count - written) }
            guard n > 0 else { throw .last("write to sealed memory") }
            written += n
        }
        guard clinux_seal(memory.raw) == 0 else { throw .last("seal memory") }
        return memory
    }

    /// Everything in it, which must be at most `limit` bytes. The file's position is left alone.
    public func contents(limit: Int) throws(NodeError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: limit + 1)
        var count = 0
        while count <= limit {
            let n = bytes.withUnsafeMutableBytes {
                pread(raw, $0.baseAddress! + count, limit + 1 - count, off_t(count))
            }
            guard n >= 0 else { throw .last("read from a descriptor") }
            if n == 0 { break }
            count += n
        }
        guard count <= limit else { throw .malformed("more than \(limit) bytes behind a descriptor") }
        bytes.removeLast(bytes.count - count)
        return bytes
    }
}
