import Glibc
import PrometheusMetrics
import Threads

/// Answers /healthz, /readyz and /metrics over plain HTTP/1.1, one connection at a time: for the kubelet and Prometheus.
public final class HealthServer: Sendable {
    private let listener: Int32
    public let port: Int
    private let thread = Locked<Thread?>(nil)

    public struct Answers: Sendable {
        public var isHealthy: @Sendable () -> Bool
        public var isReady: @Sendable () -> Bool
        public var metrics: Registry
        public init(
            isHealthy: @escaping @Sendable () -> Bool, isReady: @escaping @Sendable () -> Bool, metrics: Registry
        ) {
            self.isHealthy = isHealthy
            self.isReady = isReady
            self.metrics = metrics
        }
    }

    /// `address`: an IPv4 address or ""; port 0: a free one. Nil where it can't listen; errno says why.
    public init?(address: String, port: Int, _ answers: Answers) {
        listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var yes: Int32 = 1
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, 4)
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_port = in_port_t(truncatingIfNeeded: port).bigEndian
        guard inet_pton(AF_INET, address.isEmpty ? "0.0.0.0" : address, &name.sin_addr) == 1 else {
            close(listener)
            errno = EINVAL
            return nil
        }
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let listener = self.listener
        let isListening = withUnsafeMutablePointer(to: &name) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, size) == 0 && listen(listener, 16) == 0 && getsockname(listener, $0, &size) == 0
            }
        }
        self.port = Int(in_port_t(bigEndian: name.sin_port))
        guard isListening else {
            let reason = errno
            close(listener)
            errno = reason
            return nil
        }
        thread.withLock { $0 = Thread("health") { Self.serve(listener, answers) } }
    }

    public func stop() {
        shutdown(listener, Int32(SHUT_RDWR))
        thread.withLock { thread in
            defer { thread = nil }
            return thread
        }?.join()
        close(listener)
    }

    private static func serve(_ listener: Int32, _ answers: Answers) {
        while true {
            let connection = accept(listener, nil, nil)
            guard connection >= 0 else {
                if errno == EINTR || errno == ECONNABORTED || errno == EMFILE { continue }
                return
            }
            // A client that says nothing must not keep the others waiting.
            var limit = timeval(tv_sec: 2, tv_usec: 0)
            let size = socklen_t(MemoryLayout<timeval>.size)
            setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &limit, size)
            setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &limit, size)
            answer(connection, answers)
            close(connection)
        }
    }

    private static func answer(_ connection: Int32, _ answers: Answers) {
        var buffer = [UInt8](repeating: 0, count: 8192)
        let count = recv(connection, &buffer, buffer.count, 0)
        guard count > 0 else { return }
        let line = String(decoding: buffer[..<count].prefix { $0 != 0x0d && $0 != 0x0a }, as: UTF8.self)
        let words = line.split(separator: " ")
        var status = "404 Not Found"
        var body = "not found\n"
        if words.count == 3, words[0] == "GET" || words[0] == "HEAD" {
            switch words[1].split(separator: "?").first.map(String.init) {
            case "/healthz", "/livez":
                let isHealthy = answers.isHealthy()
                (status, body) = isHealthy ? ("200 OK", "ok\n") : ("503 Service Unavailable", "the queue is stuck\n")
            case "/readyz":
                let isReady = answers.isReady()
                (status, body) = isReady ? ("200 OK", "ok\n") : ("503 Service Unavailable", "not ready\n")
            case "/metrics": (status, body) = ("200 OK", answers.metrics.render())
            default: break
            }
        }
        let head =
            "HTTP/1.1 \(status)\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: \(body.utf8.count)\r\n"
        let text = Array((head + "Connection: close\r\n\r\n" + body).utf8)
        var sent = 0
        while sent < text.count {
            let count = text[sent...].withUnsafeBytes {
                send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return }
            sent += count
        }
    }
}
