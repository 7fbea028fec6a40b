import Glibc
import Kubernetes
import Threads

/// Serves a stand-in over HTTP on 127.0.0.1: a thread for each connection, plain sockets.
public final class SocketServer: Sendable {
    private let server: APIServer
    private let listener: Int32
    public let port: Int
    private let connections = Locked<Set<Int32>>([])
    private let isStopped = Locked(false)
    private let acceptor = Locked<Thread?>(nil)

    /// Port 0: a free one. Nil where it can't listen.
    public init?(_ server: APIServer, port: Int = 0) {
        signal(SIGPIPE, SIG_IGN)
        self.server = server
        listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var yes: Int32 = 1
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, 4)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let listener = self.listener
        let isListening = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.bind(listener, $0, size) == 0 && listen(listener, 512) == 0
                    && getsockname(listener, $0, &size) == 0
            }
        }
        self.port = Int(in_port_t(bigEndian: address.sin_port))
        guard isListening else {
            close(listener)
            return nil
        }
        acceptor.withLock { $0 = Thread("kube-accept") { [weak self] in Self.run(listener, { self }) } }
    }

    public var url: String { "http://127.0.0.1:\(port)" }

    public func stop() {
        isStopped.withLock { $0 = true }
        shutdown(listener, Int32(SHUT_RDWR))
        acceptor.withLock { thread in
            defer { thread = nil }
            return thread
        }?.join()
        close(listener)
        connections.withLock { connections in
            for descriptor in connections { shutdown(descriptor, Int32(SHUT_RDWR)) }
        }
    }

    private static func run(_ listener: Int32, _ owner: () -> SocketServer?) {
        while true {
            let descriptor = Glibc.accept(listener, nil, nil)
            guard descriptor >= 0 else {
                if errno == EINTR || errno == ECONNABORTED { continue }
                return
            }
            guard let self = owner(), !self.isStopped.withLock({ $0 }) else {
                close(descriptor)
                return
            }
            var yes: Int32 = 1
            setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &yes, 4)
            self.connections.withLock { _ = $0.insert(descriptor) }
            _ = Thread("kube-conn") {
                Connection(descriptor, self.server).serve()
                self.connections.withLock { _ = $0.remove(descriptor) }
                close(descriptor)
            }
        }
    }
}

/// One HTTP/1.1 connection.
private final class Connection {
    private let descriptor: Int32
    private let server: APIServer
    private var input: [UInt8] = []

    init(_ descriptor: Int32, _ server: APIServer) {
        self.descriptor = descriptor
        self.server = server
    }

    func serve() {
        while let request = read() {
            if let refusal = server.refusal(request) {
                guard send(refusal) else { return }
                continue
            }
            switch server.admit(request) {
            case .status(let code, let reason):
                guard send(Failure(code: code, reason: reason, message: "injected").response) else { return }
                continue
            case .lostRequest: return
            case .lostAnswer:
                _ = server.perform(request)
                return
            case .delay(let ms): napMs(ms)
            case nil: break
            }
            let events = EventQueue()
            switch server.answer(request, deliver: { events.add($0) }, end: { events.end() }) {
            case .response(let response): guard send(response) else { return }
            case .watch(let watcher):
                stream(events)
                server.cancel(watcher)
                return
            }
        }
    }

    private func stream(_ events: EventQueue) {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        guard write(Array(head.utf8)) else { return }
        while true {
            switch events.next(deadline: Instant.now.advanced(byMs: 500)) {
            case .event(let line):
                let size = String(line.count, radix: 16)
                guard write(Array("\(size)\r\n".utf8) + line + Array("\r\n".utf8)) else { return }
            case .nothing:
                // Has the other side gone?
                var byte: UInt8 = 0
                if recv(descriptor, &byte, 1, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT)) == 0 { return }
            case .ended:
                _ = write(Array("0\r\n\r\n".utf8))
                return
            }
        }
    }

    private func read() -> APIRequest? {
        var end: Int?
        while true {
            end = headEnd()
            if end != nil { break }
            guard input.count < 1 << 16, fill() else { return nil }
        }
        let lines = String(decoding: input[..<end!], as: UTF8.self).split(separator: "\r\n").map(String.init)
        input.removeFirst(end! + 4)
        let words = (lines.first ?? "").split(separator: " ").map(String.init)
        guard words.count == 3 else { return nil }
        var request = APIRequest(method: words[0], target: words[1])
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: ":") else { return nil }
            request.headers.append(
                (line[..<colon].lowercased(), String(line[line.index(after: colon)...]).trimmed))
        }
        let length = Int(request.headers.first { $0.name == "content-length" }?.value ?? "0") ?? 0
        guard length <= 16 << 20 else { return nil }
        if request.headers.contains(where: { $0.name == "expect" }) {
            guard write(Array("HTTP/1.1 100 Continue\r\n\r\n".utf8)) else { return nil }
        }
        while input.count < length { guard fill() else { return nil } }
        request.body = Array(input[..<length])
        input.removeFirst(length)
        return request
    }

    private func headEnd() -> Int? {
        guard input.count >= 4 else { return nil }
        for i in 0...(input.count - 4)
        where input[i] == 13 && input[i + 1] == 10 && input[i + 2] == 13 && input[i + 3] == 10 { return i }
        return nil
    }

    private func fill() -> Bool {
        var buffer = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = recv(descriptor, &buffer, buffer.count, 0)
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { return false }
            input += buffer[..<count]
            return true
        }
    }

    private func send(_ response: APIResponse) -> Bool {
        var head = "HTTP/1.1 \(response.status) Status\r\nContent-Length: \(response.body.count)\r\n"
        for (name, value) in response.headers { head += "\(name): \(value)\r\n" }
        return write(Array((head + "\r\n").utf8) + response.body)
    }

    private func write(_ bytes: [UInt8]) -> Bool {
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { return false }
            sent += count
        }
        return true
    }
}

/// Events on their way from the server's lock to a connection's thread.
private final class EventQueue: Sendable {
    enum Next {
        case event([UInt8])
        case nothing
        case ended
    }
    private let lock: Lock
    private let condition: Threads.Condition
    private nonisolated(unsafe) var lines: [[UInt8]] = []
    private nonisolated(unsafe) var hasEnded = false

    init() {
        lock = Lock()
        condition = Threads.Condition(lock)
    }

    func add(_ line: [UInt8]) {
        lock.withLock {
            lines.append(line)
            condition.signal()
        }
    }

    func end() {
        lock.withLock {
            hasEnded = true
            condition.signal()
        }
    }

    /// All that has come, in one piece.
    func next(deadline: Instant) -> Next {
        lock.withLock {
            while lines.isEmpty && !hasEnded { if !condition.wait(until: deadline) { break } }
            if !lines.isEmpty {
                defer { lines = [] }
                return .event(Array(lines.joined()))
            }
            return hasEnded ? .ended : .nothing
        }
    }
}
