import Glibc
import Synchronization
import Threads

/// A server of a few lines: each connection has a thread, each request's head and body goes to the script, which
/// writes what it likes. For answers that no real server gives.
final class ScriptedServer: Sendable {
    struct Request {
        /// "GET /path HTTP/1.1".
        var line: String
        /// Names in lower case.
        var headers: [String: String]
        var body: [UInt8]
        var target: String { line.split(separator: " ").dropFirst().first.map(String.init) ?? "" }
    }

    /// One connection; a script writes to it and may close it.
    final class Connection: Sendable {
        let fd: Int32
        init(_ fd: Int32) { self.fd = fd }
        func write(_ text: String) { write(Array(text.utf8)) }
        func write(_ bytes: [UInt8]) {
            var sent = 0
            while sent < bytes.count {
                let n = bytes.withUnsafeBytes { send(fd, $0.baseAddress! + sent, $0.count - sent, Int32(MSG_NOSIGNAL)) }
                if n <= 0 { return }
                sent += n
            }
        }
        /// A whole answer.
        func answer(_ status: String, headers: [String] = [], _ body: String = "") {
            let head = ["HTTP/1.1 \(status)"] + headers + ["Content-Length: \(body.utf8.count)"]
            write(head.joined(separator: "\r\n") + "\r\n\r\n" + body)
        }
        /// No further byte; the client sees the end.
        func end() { shutdown(fd, Int32(SHUT_RDWR)) }
        /// Until the client goes away.
        func waitForClient() {
            var byte: UInt8 = 0
            while recv(fd, &byte, 1, 0) > 0 {}
        }
    }

    let port: Int
    var url: String { "http://127.0.0.1:\(port)" }
    private let listener: Int32
    private let requests = Locked<[Request]>([])
    private let open = Locked<Set<Int32>>([])

    /// `script` gets the request, its number from 0, and the connection; on the connection's own thread.
    init(_ script: @escaping @Sendable (Request, Int, Connection) -> Void) {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        self.listener = listener
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        withUnsafeMutableBytes(of: &address) {
            let pointer = $0.baseAddress!.assumingMemoryBound(to: sockaddr.self)
            precondition(bind(listener, pointer, length) == 0 && listen(listener, 128) == 0)
            getsockname(listener, pointer, &length)
        }
        port = Int(UInt16(bigEndian: address.sin_port))
        let requests = requests
        let open = open
        _ = Thread("server") {
            while true {
                let fd = accept(listener, nil, nil)
                if fd < 0 { return }
                open.withLock { _ = $0.insert(fd) }
                _ = Thread("connection") {
                    Self.serve(fd, requests, script)
                    open.withLock { _ = $0.remove(fd) }
                    close(fd)
                }
            }
        }
    }

    deinit {
        shutdown(listener, Int32(SHUT_RDWR))
        close(listener)
        open.withLock { for fd in $0 { shutdown(fd, Int32(SHUT_RDWR)) } }
    }

    /// The requests so far.
    var seen: [Request] { requests.withLock { $0 } }

    private static func serve(
        _ fd: Int32, _ requests: Locked<[Request]>, _ script: @Sendable (Request, Int, Connection) -> Void
    ) {
        var buffer: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65536)
        let connection = Connection(fd)
        while true {
            let end = Array("\r\n\r\n".utf8)
            while true {
                if let head = buffer.firstRange(of: end) {
                    let lines = String(decoding: buffer[..<head.lowerBound], as: UTF8.self).split(separator: "\r\n")
                    var headers: [String: String] = [:]
                    for line in lines.dropFirst() {
                        let parts = line.split(separator: ":", maxSplits: 1)
                        headers[parts[0].lowercased()] =
                            parts.count > 1 ? String(parts[1].drop(while: { $0 == " " })) : ""
                    }
                    let bodyCount = Int(headers["content-length"] ?? "0")!
                    if buffer.count - head.upperBound >= bodyCount {
                        let body = Array(buffer[head.upperBound..<(head.upperBound + bodyCount)])
                        buffer.removeFirst(head.upperBound + bodyCount)
                        let request = Request(line: String(lines[0]), headers: headers, body: body)
                        let number = requests.withLock {
                            $0.append(request)
                            return $0.count - 1
                        }
                        script(request, number, connection)
                        break
                    }
                }
                let n = recv(fd, &chunk, chunk.count, 0)
                if n <= 0 { return }
                buffer += chunk[..<n]
            }
        }
    }
}

/// Waits for what a completion gives; a test that hangs ends here.
extension Promise {
    func value(withinMs ms: Int = 30_000) throws -> Value {
        guard let value = wait(until: Instant.now.advanced(byMs: ms)) else { throw NothingCame(ms: ms) }
        return value
    }
}
struct NothingCame: Error { var ms: Int }
