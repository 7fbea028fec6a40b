import CLinux
import Glibc
import SystemPackage
import Threads

/// A connected unix stream socket that carries frames. Every call has a deadline.
final class UnixSocket: Sendable {
    let descriptor: Descriptor

    init(_ descriptor: Descriptor) { self.descriptor = descriptor }

    static func connect(to path: String, deadline: Instant) throws(NodeError) -> UnixSocket {
        let socket = try make()
        try withAddress(of: path) { (address, size) throws(NodeError) in
            // A unix socket connects at once or, where the backlog is full, says EAGAIN.
            while Glibc.connect(socket.descriptor.raw, address, size) != 0 {
                guard Errno.current == .resourceTemporarilyUnavailable || Errno.current == .interrupted else {
                    throw .last("connect to \(path)")
                }
                guard Instant.now < deadline else { throw .timedOut("connect to \(path)") }
                usleep(5_000)
            }
        }
        return socket
    }

    /// Listens at `path`, in place of a socket that nobody serves any more; the caller holds the path's lock.
    static func listen(at path: String, mode: UInt32) throws(NodeError) -> UnixSocket {
        let socket = try make()
        try withAddress(of: path) { (address, size) throws(NodeError) in
            unlink(path)
            guard bind(socket.descriptor.raw, address, size) == 0 else { throw .last("bind \(path)") }
        }
        guard chmod(path, mode) == 0 else { throw .last("chmod \(path)") }
        guard Glibc.listen(socket.descriptor.raw, 64) == 0 else { throw .last("listen at \(path)") }
        return socket
    }

    private static func make() throws(NodeError) -> UnixSocket {
        let raw = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
        guard raw >= 0 else { throw .last("socket") }
        return UnixSocket(Descriptor(raw))
    }

    /// The address of a path; one too long for `sockaddr_un` goes by way of its directory's descriptor.
    private static func withAddress(
        of path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) throws(NodeError) -> Void
    ) throws(NodeError) {
        var address = sockaddr_un()
        let capacity = MemoryLayout.size(ofValue: address.sun_path)
        var name = path
        var directory: Descriptor?
        if path.utf8.count >= capacity {
            let file = FilePath(path)
            let raw = open(file.removingLastComponent().string, O_DIRECTORY | O_CLOEXEC)
            guard raw >= 0 else { throw .last("open the directory of \(path)") }
            directory = Descriptor(raw)
            name = "/proc/self/fd/\(raw)/\(file.lastComponent?.string ?? "")"
        }
        defer { withExtendedLifetime(directory) {} }
        guard name.utf8.count < capacity else {
            throw .system(.fileNameTooLong, "socket name \(path): use a shorter one")
        }
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: name.utf8) }
        var failure: NodeError?
        withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                do throws(NodeError) { try body(pointer, socklen_t(MemoryLayout<sockaddr_un>.size)) } catch {
                    failure = error
                }
            }
        }
        if let failure { throw failure }
    }

    /// The next connection, or nil once the socket was shut down.
    func accept() throws(NodeError) -> UnixSocket? {
        while true {
            var poll = pollfd(fd: descriptor.raw, events: Int16(POLLIN), revents: 0)
            if Glibc.poll(&poll, 1, -1) < 0 && Errno.current != .interrupted { throw .last("poll") }
            let raw = clinux_accept(descriptor.raw)
            if raw >= 0 { return UnixSocket(Descriptor(raw)) }
            switch Errno.current {
            case .invalidArgument: return nil
            case .resourceTemporarilyUnavailable, .interrupted, .connectionAbort: continue
            default: throw .last("accept")
            }
        }
    }

    func shutDown() { shutdown(descriptor.raw, Int32(SHUT_RDWR)) }

    var peer: (pid: Int32, uid: UInt32)? {
        var pid: Int32 = 0
        var uid: UInt32 = 0
        return clinux_peer(descriptor.raw, &pid, &uid) == 0 ? (pid, uid) : nil
    }

    func send(_ frame: Frame, deadline: Instant) throws(NodeError) {
        let bytes = try frame.encoded()
        let descriptors = frame.descriptors.map(\.raw)
        var sent = 0
        while sent < bytes.count {
            // The descriptors go with the first byte.
            let n = bytes.withUnsafeBytes {
                clinux_send_descriptors(
                    descriptor.raw, $0.baseAddress! + sent, bytes.count - sent, descriptors,
                    sent == 0 ? Int32(descriptors.count) : 0)
            }
            if n > 0 { sent += n } else { try retry(POLLOUT, deadline, "send") }
        }
        withExtendedLifetime(frame.descriptors) {}
    }

    /// The next frame; throws `.closed` at its end.
    func receive(deadline: Instant) throws(NodeError) -> (
        header: Frame.Header, fields: Fields, descriptors: [Descriptor]
    ) {
        var descriptors: [Descriptor] = []
        let header = try Frame.Header(try read(Frame.headerBytes, &descriptors, deadline))
        let fields = try Fields(decoding: try read(header.payloadBytes, &descriptors, deadline))
        guard descriptors.count == header.descriptors else {
            throw .malformed("\(header.descriptors) descriptors announced, \(descriptors.count) came")
        }
        return (header, fields, descriptors)
    }

    private func read(_ count: Int, _ descriptors: inout [Descriptor], _ deadline: Instant) throws(NodeError) -> [UInt8]
    {
        var bytes = [UInt8](repeating: 0, count: count)
        var received = 0
        while received < count {
            var raw = [Int32](repeating: -1, count: Frame.maxDescriptors)
            var came: Int32 = 0
            let n = bytes.withUnsafeMutableBytes {
                clinux_receive_descriptors(
                    descriptor.raw, $0.baseAddress! + received, count - received, &raw, Int32(raw.count), &came)
            }
            descriptors += raw.prefix(Int(came)).map(Descriptor.init)
            guard descriptors.count <= Frame.maxDescriptors else { throw .malformed("too many descriptors came") }
            if n == 0 { throw .closed }
            if n > 0 { received += n } else { try retry(POLLIN, deadline, "receive") }
        }
        return bytes
    }

    /// After a call that failed: waits until it is worth another try.
    private func retry(_ events: Int32, _ deadline: Instant, _ what: String) throws(NodeError) {
        switch Errno.current {
        case .resourceTemporarilyUnavailable:
            guard try wait(for: events, deadline: deadline) else { throw .timedOut(what) }
        case .interrupted: return
        case .brokenPipe, .connectionReset: throw .closed
        default: throw .last(what)
        }
    }

    /// True when the socket is ready (or at its end), false once the deadline has passed.
    func wait(for events: Int32, deadline: Instant) throws(NodeError) -> Bool {
        while true {
            let left = min(deadline.ms(since: .now), 3_600_000)
            var poll = pollfd(fd: descriptor.raw, events: Int16(events), revents: 0)
            let n = Glibc.poll(&poll, 1, Int32(left.rounded(.up)))
            if n > 0 { return true }
            if n == 0 && Instant.now >= deadline { return false }
            if n < 0 && Errno.current != .interrupted { throw .last("poll") }
        }
    }
}

/// A listening unix socket at `path`, in place of a file that is there, for a server that is not ours; the caller
/// closes it and holds whatever keeps a second server away.
public func listeningSocket(at path: String) throws(NodeError) -> Int32 {
    let socket = try UnixSocket.listen(at: path, mode: 0o600)
    let copy = clinux_duplicate(socket.descriptor.raw)
    guard copy >= 0 else { throw .last("dup") }
    return copy
}
