import Glibc

/// One accepted socket, used by one thread.
final class HTTPConnection {
    let socket: Int32
    private var buffer: [UInt8] = []

    /// The peer is gone, or what it sent is no HTTP.
    struct Closed: Error {}

    init(_ socket: Int32) {
        self.socket = socket
        _ = fcntl(socket, F_SETFD, FD_CLOEXEC)
        var on: Int32 = 1
        setsockopt(socket, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
    }

    // MARK: Reading

    private func fill() throws(Closed) {
        var count = 0
        // Byte by byte would take milliseconds in debug builds.
        let received = [UInt8](unsafeUninitializedCapacity: 64 * 1024) { buffer, filled in
            repeat { count = recv(socket, buffer.baseAddress, buffer.count, 0) } while count < 0 && errno == EINTR
            filled = max(0, count)
        }
        if count <= 0 { throw Closed() }
        buffer += received
    }

    private func line() throws(Closed) -> String {
        while true {
            if let end = buffer.firstIndex(of: 10) {
                var line = buffer[..<end]
                if line.last == 13 { line.removeLast() }
                let text = String(decoding: line, as: UTF8.self)
                buffer.removeSubrange(...end)
                return text
            }
            if buffer.count > 128 * 1024 { throw Closed() }
            try fill()
        }
    }

    private func take(_ count: Int) throws(Closed) -> [UInt8] {
        while buffer.count < count { try fill() }
        defer { buffer.removeFirst(count) }
        return Array(buffer[..<count])
    }

    /// The next request with its body.
    func readRequest() throws(Closed) -> HTTPRequest {
        let parts = try line().split(separator: " ")
        guard parts.count == 3, parts[2].hasPrefix("HTTP/1.") else { throw Closed() }
        let target = parts[1].split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        var query: [(name: [UInt8], value: [UInt8])] = []
        for pair in (target.count > 1 ? target[1] : "").split(separator: "&") {
            let sides = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let value = sides.count < 2 ? [] : percentDecoded(sides[1], plusIsSpace: true)
            query.append((percentDecoded(sides[0], plusIsSpace: true), value))
        }
        var request = HTTPRequest(
            method: String(parts[0]), rawPath: String(target[0]), query: query, headers: [],
            keepsAlive: parts[2] != "HTTP/1.0")
        while true {
            let line = try line()
            if line.isEmpty { break }
            guard let colon = line.firstIndex(of: ":") else { throw Closed() }
            let value = line[line.index(after: colon)...].drop { $0 == " " || $0 == "\t" }
            request.headers.append((line[..<colon].lowercased(), String(value)))
        }
        if request.header("connection")?.lowercased() == "close" { request.keepsAlive = false }
        if let length = request.header("content-length").flatMap({ Int($0) }), length > 0 {
            if request.header("expect") != nil { try send(Array("HTTP/1.1 100 Continue\r\n\r\n".utf8)) }
            request.body = try take(length)
        } else if request.header("transfer-encoding")?.lowercased() == "chunked" {
            request.body = try chunks()
        }
        return request
    }

    private func chunks() throws(Closed) -> [UInt8] {
        var body: [UInt8] = []
        while true {
            guard let size = Int(try line().prefix { $0 != ";" }, radix: 16) else { throw Closed() }
            if size == 0 {
                while try !line().isEmpty {}
                return body
            }
            body += try take(size)
            _ = try line()
        }
    }

    // MARK: Writing

    func send(_ bytes: [UInt8], more: Bool = false) throws(Closed) {
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes {
                Glibc.send(
                    socket, $0.baseAddress! + done, bytes.count - done,
                    Int32(MSG_NOSIGNAL) | (more ? Int32(MSG_MORE) : 0))
            }
            if count < 0, errno == EINTR { continue }
            if count <= 0 { throw Closed() }
            done += count
        }
    }

    /// Waits; throws early when the peer hangs up or the server stops.
    func pause(ms: Int) throws(Closed) {
        let hangUp: Int16 = 0x2000  // POLLRDHUP, which the module leaves out
        var descriptor = pollfd(fd: socket, events: hangUp, revents: 0)
        if ms > 0, poll(&descriptor, 1, Int32(clamping: ms)) > 0 { throw Closed() }
    }

    /// The peer gets a RST instead of a FIN.
    func resetOnClose() {
        var linger = linger(l_onoff: 1, l_linger: 0)
        setsockopt(socket, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout.size(ofValue: linger)))
    }
}
