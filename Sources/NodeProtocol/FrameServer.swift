import CLinux
import Glibc
import SystemPackage
import Threads

/// Who is at the other end of a connection.
public struct FramePeer: Hashable, Sendable {
    public let connection: Int
    public let pid: Int32
}

/// What a server does with its frames. Called on the connection's thread.
public protocol FrameHandler: AnyObject, Sendable {
    func answer(_ request: Frame, from peer: FramePeer) throws(NodeError) -> Frame
    func ended(_ peer: FramePeer)
}

/// Serves frames on a unix socket, a thread for each connection.
public final class FrameServer: Sendable {
    /// A peer that holds a connection beyond this is refused.
    static let maxConnections = 64

    private let path: String
    private let listener: UnixSocket
    private let lockFile: Descriptor
    private let handler: any FrameHandler
    private let allowedUsers: Set<UInt32>
    private let state = Locked(State())

    private struct State {
        var next = 1
        var open: [Int: UnixSocket] = [:]
        var stopped = false
        /// When the last connection ended.
        var idleSince: Instant? = .now
    }

    /// Starts to serve. Root, our own user and `users` may connect. Throws `.refused(.busy)` where another process
    /// serves the path.
    public init(
        path: String, users: Set<UInt32> = [], name: String, handler: any FrameHandler
    ) throws(NodeError) {
        self.path = path
        self.handler = handler
        allowedUsers = users.union([0, geteuid()])
        // The lock ends with its holder, so a socket left by a dead server is told from one in use.
        let raw = open(path + ".lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard raw >= 0 else { throw .last("open \(path).lock") }
        lockFile = Descriptor(raw)
        guard flock(raw, LOCK_EX | LOCK_NB) == 0 else {
            throw .refused(.busy, "another process serves \(path)")
        }
        listener = try UnixSocket.listen(at: path, mode: 0o600)
        _ = Thread(name) { [self] in acceptLoop(name) }
    }

    /// Since when nobody has been connected; nil while somebody is.
    public var idleSince: Instant? { state.withLock { $0.idleSince } }

    /// Ends every connection and frees the path.
    public func stop() {
        let sockets = state.withLock { state in
            state.stopped = true
            return Array(state.open.values)
        }
        listener.shutDown()
        unlink(path)
        for socket in sockets { socket.shutDown() }
    }

    private func acceptLoop(_ name: String) {
        while true {
            let socket: UnixSocket?
            do throws(NodeError) {
                socket = try listener.accept()
            } catch {
                // Out of descriptors, most likely: those connected go on, the next is tried again.
                usleep(100_000)
                continue
            }
            guard let socket else { return }
            guard let peer = socket.peer, allowedUsers.contains(peer.uid) else { continue }
            let connection = state.withLock { state -> Int? in
                guard !state.stopped, state.open.count < Self.maxConnections else { return nil }
                state.next += 1
                state.open[state.next] = socket
                state.idleSince = nil
                return state.next
            }
            guard let connection else { continue }
            _ = Thread(name) { [self] in
                serve(socket, FramePeer(connection: connection, pid: peer.pid))
            }
        }
    }

    private func serve(_ socket: UnixSocket, _ peer: FramePeer) {
        do {
            while true {
                // Between requests a peer may be silent; within one it may not.
                guard try socket.wait(for: POLLIN, deadline: .distantFuture) else { continue }
                let (header, fields, descriptors) = try socket.receive(deadline: .now.advanced(byMs: 5_000))
                let answer: Frame
                if let kind = Frame.Kind(rawValue: header.kind) {
                    do throws(NodeError) {
                        answer = try handler.answer(Frame(kind, fields, descriptors), from: peer)
                    } catch {
                        answer = .failure(error)
                    }
                } else {
                    answer = .failure(.refused(.unsupported, "this version knows no request \(header.kind)"))
                }
                try socket.send(answer, deadline: .now.advanced(byMs: 5_000))
            }
        } catch {
            socket.shutDown()
        }
        handler.ended(peer)
        state.withLock { state in
            state.open[peer.connection] = nil
            if state.open.isEmpty { state.idleSince = .now }
        }
    }
}
