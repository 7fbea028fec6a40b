import Glibc
import Threads

/// Asks an NFS server whether it serves a directory. It speaks TCP to port 2049, as version 4 does, and mounts nothing.
public enum NFSProbe {
    public enum Outcome: Sendable, Equatable {
        case reachable
        /// It serves NFS, but whether the path is there can't be told from here.
        case pathNotChecked(String)
        case missing(String)
        case denied
        case unreachable(String)
    }

    /// Ends within `limitMs`, but for the resolver of names. On a thread of its own, as all of it blocks.
    public static func check(server: String, path: String, port: Int = 2049, limitMs: Int = 5_000) async -> Outcome {
        await withCheckedContinuation { continuation in
            _ = Thread("nfs-probe") {
                let deadline = Instant.now.advanced(byMs: limitMs)
                continuation.resume(returning: look(server, path, port, deadline))
            }
        }
    }

    private static func look(_ server: String, _ path: String, _ port: Int, _ deadline: Instant) -> Outcome {
        let connection: RecordConnection
        switch RecordConnection.open(server, port: port, deadline: deadline) {
        case .failure(let problem): return .unreachable(problem.text)
        case .success(let opened): connection = opened
        }
        func ask(_ id: UInt32, _ call: [UInt8]) -> NFSReply? {
            connection.exchange(call, deadline: deadline).map { NFSReply($0, to: id) }
        }
        let silent = Outcome.unreachable("it takes connections and doesn't answer NFS calls")
        switch ask(1, NFSCall.null(version: 4, id: 1)) {
        case nil: return silent
        case .garbled?: return .unreachable("what answers there is no NFS server")
        case .refused(let why)?: return .unreachable(why)
        case .otherVersion?:
            guard case .accepted? = ask(2, NFSCall.null(version: 3, id: 2)) else { return silent }
            return .pathNotChecked("it speaks version 3 alone")
        case .accepted?: break
        }
        let names = path.split(separator: "/").map(String.init)
        switch ask(3, NFSCall.lookup(path: names, id: 3)) {
        case nil: return .pathNotChecked("it doesn't answer that")
        case .refused(let why)?: return .pathNotChecked(why)
        case .otherVersion?, .garbled?: return .pathNotChecked("it answers oddly")
        case .accepted(let result)?:
            switch NFSLookup(result, names: names.count) {
            case .directory: return .reachable
            case .notADirectory: return .missing("\(path) is no directory")
            case .missing(let index): return .missing("there is no /\(names.prefix(index + 1).joined(separator: "/"))")
            case .denied: return .denied
            case .unknown(let why): return .pathNotChecked(why)
            }
        }
    }
}

/// A TCP connection that carries records of RPC.
private final class RecordConnection {
    struct Problem: Error { var text: String }
    private static let longestRecord = 1 << 16
    private let descriptor: Int32

    private init(_ descriptor: Int32) { self.descriptor = descriptor }
    deinit { close(descriptor) }

    /// The first of the server's addresses that takes the connection.
    static func open(_ host: String, port: Int, deadline: Instant) -> Result<RecordConnection, Problem> {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        let status = getaddrinfo(host, String(port), &hints, &found)
        guard status == 0 else {
            return .failure(Problem(text: "its name can't be resolved: \(String(cString: gai_strerror(status)))"))
        }
        defer { freeaddrinfo(found) }
        var why = "it has no address"
        var next = found
        while let address = next?.pointee {
            next = address.ai_next
            let descriptor = socket(
                address.ai_family, address.ai_socktype | Int32(SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue), 0)
            guard descriptor >= 0 else { continue }
            let connection = RecordConnection(descriptor)
            if connect(descriptor, address.ai_addr, address.ai_addrlen) != 0, errno != EINPROGRESS {
                why = String(cString: strerror(errno))
            } else if !connection.wait(for: POLLOUT, deadline) {
                why = "no answer"
            } else {
                var error: Int32 = 0
                var size = socklen_t(MemoryLayout<Int32>.size)
                getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &size)
                if error == 0 { return .success(connection) }
                why = String(cString: strerror(error))
            }
        }
        return .failure(Problem(text: "port \(port): \(why)"))
    }

    /// Sends a record and answers the next one that comes; nil where that fails.
    func exchange(_ record: [UInt8], deadline: Instant) -> [UInt8]? {
        var sent = 0
        while sent < record.count {
            guard wait(for: POLLOUT, deadline) else { return nil }
            let count = record[sent...].withUnsafeBytes {
                send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return nil }
            sent += count
        }
        var answer: [UInt8] = []
        while true {
            guard let head = receive(4, deadline) else { return nil }
            let mark = head.reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            let count = Int(mark & 0x7fff_ffff)
            guard count + answer.count <= Self.longestRecord, let fragment = receive(count, deadline) else {
                return nil
            }
            answer += fragment
            if mark >> 31 == 1 { return answer }
        }
    }

    private func receive(_ count: Int, _ deadline: Instant) -> [UInt8]? {
        var bytes: [UInt8] = []
        while bytes.count < count {
            guard wait(for: POLLIN, deadline) else { return nil }
            var buffer = [UInt8](repeating: 0, count: count - bytes.count)
            let got = recv(descriptor, &buffer, buffer.count, 0)
            guard got > 0 else { return nil }
            bytes += buffer[..<got]
        }
        return bytes
    }

    private func wait(for events: Int32, _ deadline: Instant) -> Bool {
        while true {
            let left = deadline.ms(since: .now)
            guard left > 0 else { return false }
            var poller = pollfd(fd: descriptor, events: Int16(events), revents: 0)
            let count = poll(&poller, 1, Int32(left.rounded(.up)))
            if count < 0 && errno == EINTR { continue }
            return count > 0
        }
    }
}
