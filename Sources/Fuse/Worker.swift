import Glibc
import SystemPackage

/// What one of the server's threads owns: a buffer for requests, and a READ to use again and again.
final class Worker {
    enum Outcome {
        case drained, more
        case ended(Session.Ending)
    }

    private let lane: Int
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Protocol.requestBufferBytes, alignment: 4096)
    private var read = ReadRequest()

    /// `lane`: its number among the workers.
    init(lane: Int) {
        self.lane = lane
        // The kernel fails a request with EIO where a process is killed while it makes pages for it.
        buffer.initializeMemory(as: UInt8.self, repeating: 0)
    }

    deinit { buffer.deallocate() }

    /// Reads and hands on requests until there are none, or `limit` were.
    func serve(_ session: Session, atMost limit: Int) -> Outcome {
        for _ in 0..<limit {
            if session.isStopping.load(ordering: .relaxed) { return .drained }
            let n = session.receive(into: buffer, lane: lane)
            if n >= Protocol.inHeaderBytes {
                handle(UnsafeMutableRawBufferPointer(rebasing: buffer[0..<n]), session)
                continue
            }
            switch errno {
            case EAGAIN: return .drained
            // ENOENT: the request was given up while we read it.
            case EINTR, ENOENT: continue
            case ENODEV: return .ended(.unmounted)
            case ECONNABORTED: return .ended(.aborted)
            default: return .ended(.failed(Errno(rawValue: n < 0 ? errno : EPROTO)))
            }
        }
        return .more
    }

    private func handle(_ request: UnsafeMutableRawBufferPointer, _ session: Session) {
        switch request.loadUnaligned(fromByteOffset: 4, as: UInt32.self) {
        case Protocol.Opcode.read where request.count >= Protocol.readRequestBytes:
            // A READ that others still hold waits for its answer, or for them to let go of it.
            if !read.isAnswered || !isKnownUniquelyReferenced(&read) { read = ReadRequest() }
            read.receive(UnsafeRawBufferPointer(request), session)
            session.operations.read(read)
            if !read.isAnswered { read.awaitInterrupt() }
        case Protocol.Opcode.interrupt where request.count >= Protocol.interruptRequestBytes:
            session.waiting.interrupted(request.loadUnaligned(fromByteOffset: Protocol.inHeaderBytes, as: UInt64.self))
        default: session.process(request)
        }
    }
}
