import Glibc
import Threads

/// Answers `GET /metrics` (Prometheus' text), `GET /healthz` and what pages it was given over HTTP, and nothing else.
///
/// A few threads that sleep in accept(2): at most so many connections at once, each with a limit on its time and the
/// bytes it may send.
public final class MetricsServer: Sendable {
    public struct Problem: Error, Sendable, CustomStringConvertible {
        public var description: String
    }

    /// Another path and what it answers.
    public struct Page: Sendable {
        var path: String
        var contentType: String
        var body: @Sendable () -> String

        public init(path: String, contentType: String, body: @escaping @Sendable () -> String) {
            self.path = path
            self.contentType = contentType
            self.body = body
        }
    }

    /// The port that it listens on, also where 0 was asked for.
    public let port: UInt16
    private let listener: Int32
    private let threads = Locked<[Thread]>([])
    private static let connections = 4

    /// `address`: "HOST:PORT"; an IPv6 host in brackets; an empty host means every address.
    public init(
        address: String, registry: Registry, pages: [Page] = [], health: @escaping @Sendable () -> Bool
    ) throws(Problem) {
        (listener, port) = try Self.listen(address)
        let responder = MetricsResponder(listener: listener, registry: registry, pages: pages, health: health)
        let started = (0..<Self.connections).map { n in Thread("metrics-\(n)") { responder.run() } }
        threads.withLock { $0 = started }
    }

    deinit { stop() }

    /// Ends it; connections under way are answered.
    public func stop() {
        let running = threads.withLock { threads in
            defer { threads = [] }
            return threads
        }
        guard !running.isEmpty else { return }
        // Wakes all who wait in accept(2).
        shutdown(listener, Int32(SHUT_RDWR))
        for thread in running { thread.join() }
        close(listener)
    }

    private static func listen(_ address: String) throws(Problem) -> (Int32, UInt16) {
        guard let colon = address.lastIndex(of: ":"), UInt16(address[address.index(after: colon)...]) != nil else {
            throw Problem(description: "\"\(address)\" is not HOST:PORT")
        }
        var host = String(address[..<colon])
        if host.hasPrefix("[") && host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
        let service = String(address[address.index(after: colon)...])
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_PASSIVE
        var found: UnsafeMutablePointer<addrinfo>?
        let status = getaddrinfo(host.isEmpty ? nil : host, service, &hints, &found)
        guard status == 0, let first = found else {
            throw Problem(description: "\(host): \(String(cString: gai_strerror(status)))")
        }
        defer { freeaddrinfo(first) }
        let fd = socket(first.pointee.ai_family, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard fd >= 0 else { throw Problem(description: "socket: \(String(cString: strerror(errno)))") }
        var one: Int32 = 1
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
        guard bind(fd, first.pointee.ai_addr, first.pointee.ai_addrlen) == 0, Glibc.listen(fd, 16) == 0 else {
            let error = String(cString: strerror(errno))
            close(fd)
            throw Problem(description: "\(address): \(error)")
        }
        return (fd, port(of: fd))
    }

    private static func port(of fd: Int32) -> UInt16 {
        var address = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        withUnsafeMutablePointer(to: &address) {
            _ = $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(fd, $0, &length) }
        }
        // The port is at the same place in both families' addresses.
        return withUnsafeBytes(of: address) { UInt16(bigEndian: $0.loadUnaligned(fromByteOffset: 2, as: UInt16.self)) }
    }
}

/// What each of the threads does.
private struct MetricsResponder: Sendable {
    let listener: Int32
    let registry: Registry
    let pages: [MetricsServer.Page]
    let health: @Sendable () -> Bool
    private static let maxRequestBytes = 8 << 10
    private static let timeoutSeconds = 5

    func run() {
        while true {
            let fd = accept(listener, nil, nil)
            if fd < 0 {
                if errno == EINTR || errno == ECONNABORTED || errno == EMFILE || errno == ENFILE {
                    if errno == EMFILE || errno == ENFILE { usleep(100_000) }
                    continue
                }
                return
            }
            _ = fcntl(fd, F_SETFD, FD_CLOEXEC)
            var limit = timeval(tv_sec: Self.timeoutSeconds, tv_usec: 0)
            for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
                setsockopt(fd, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
            }
            answer(fd)
            close(fd)
        }
    }

    private func answer(_ fd: Int32) {
        let deadline = Instant.now.advanced(byMs: Self.timeoutSeconds * 1000)
        var request: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 2048)
        while !Self.isWhole(request) {
            let n = recv(fd, &chunk, chunk.count, 0)
            if n <= 0 || deadline <= .now { return }
            request += chunk[0..<n]
            if request.count > Self.maxRequestBytes { return send(fd, "431 Request Header Fields Too Large", "") }
        }
        let line = request.prefix { $0 != 0x0d && $0 != 0x0a }
        let words = String(decoding: line, as: UTF8.self).split(separator: " ")
        guard words.count == 3, words[2].hasPrefix("HTTP/1.") else { return send(fd, "400 Bad Request", "") }
        guard words[0] == "GET" || words[0] == "HEAD" else { return send(fd, "405 Method Not Allowed", "") }
        let isHead = words[0] == "HEAD"
        let path = words[1].split(separator: "?", omittingEmptySubsequences: false).first
        if let page = pages.first(where: { $0.path == path ?? "" }) {
            return send(fd, "200 OK", page.body(), page.contentType, isHead: isHead)
        }
        switch path {
        case "/metrics": send(fd, "200 OK", registry.render(), isHead: isHead)
        case "/healthz":
            let isHealthy = health()
            send(fd, isHealthy ? "200 OK" : "503 Service Unavailable", isHealthy ? "ok\n" : "not ok\n", isHead: isHead)
        default: send(fd, "404 Not Found", "There is /metrics and /healthz.\n", isHead: isHead)
        }
    }

    private static func isWhole(_ request: [UInt8]) -> Bool {
        let end: [UInt8] = [0x0d, 0x0a, 0x0d, 0x0a]
        return request.count >= 4 && (0...(request.count - 4)).contains { request[$0..<($0 + 4)].elementsEqual(end) }
    }

    private func send(
        _ fd: Int32, _ status: String, _ body: String,
        _ contentType: String = "text/plain; version=0.0.4; charset=utf-8", isHead: Bool = false
    ) {
        let head =
            "HTTP/1.1 \(status)\r\nContent-Type: \(contentType)\r\n"
            + "Content-Length: \(body.utf8.count)\r\nConnection: close\r\n\r\n"
        var text = head + (isHead ? "" : body)
        text.withUTF8 { bytes in
            var sent = 0
            while sent < bytes.count {
                let n = Glibc.send(fd, bytes.baseAddress! + sent, bytes.count - sent, Int32(MSG_NOSIGNAL))
                if n <= 0 { return }
                sent += n
            }
        }
    }
}
