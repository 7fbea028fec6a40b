import Glibc

/// What a server on this machine answers to some bytes, until it closes; for tests that speak HTTP by hand, so that the
/// server is seen as it is. " ECONNRESET" is put behind an answer that was cut off; nil: nobody listens.
///
/// `endsWriting`: tells the server that no more will come.
public func exchange(port: UInt16, _ request: String, endsWriting: Bool = false) -> String? {
    let client = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(client) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let status = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            connect(client, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
    }
    guard status == 0 else { return nil }
    let text = Array(request.utf8)
    _ = send(client, text, text.count, Int32(MSG_NOSIGNAL))
    if endsWriting { shutdown(client, Int32(SHUT_WR)) }
    var all: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    while true {
        let count = recv(client, &buffer, buffer.count, 0)
        if count < 0 { return String(decoding: all, as: UTF8.self) + " ECONNRESET" }
        if count == 0 { return String(decoding: all, as: UTF8.self) }
        all += buffer[..<count]
    }
}
