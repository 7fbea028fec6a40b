import CLinux
import Glibc
import SystemPackage
import Threads

/// A connection to a server of frames: one call at a time, each with a deadline. A call that fails for any other
/// reason than `.refused` ends the connection.
public final class FrameClient: Sendable {
    private let socket: UnixSocket
    private let calling = Lock()
    private let broken = Locked(false)

    /// The server's process, as its credentials say.
    public let serverPID: Int32

    public init(connectingTo path: String, timeoutMs: Int = 1_000) throws(NodeError) {
        socket = try UnixSocket.connect(to: path, deadline: .now.advanced(byMs: timeoutMs))
        serverPID = socket.peer?.pid ?? 0
    }

    /// Sends a request and answers what came back. Throws `.refused` with the server's reason.
    @discardableResult
    public func call(_ request: Frame, timeoutMs: Int) throws(NodeError) -> Frame {
        let deadline = Instant.now.advanced(byMs: timeoutMs)
        return try calling.withLock { () throws(NodeError) in
            guard !broken.withLock({ $0 }) else { throw .closed }
            do throws(NodeError) {
                try socket.send(request, deadline: deadline)
                let (header, fields, descriptors) = try socket.receive(deadline: deadline)
                switch Frame.Kind(rawValue: header.kind) {
                case .done: return Frame(.done, fields, descriptors)
                case .failure: throw Frame(.failure, fields).refusal
                default: throw NodeError.malformed("answer of kind \(header.kind)")
                }
            } catch {
                // An answer that comes late would be taken for that of the next call.
                if case .refused = error {} else { end() }
                throw error
            }
        }
    }

    /// Waits for the end of the connection; false if it still stands at the deadline.
    public func waitForEnd(deadline: Instant) -> Bool {
        (try? socket.wait(for: hungUpByPeer, deadline: deadline)) ?? true
    }

    public func end() {
        broken.withLock { $0 = true }
        socket.shutDown()
    }

    deinit { end() }
}

private let hungUpByPeer: Int32 = 0x2000
