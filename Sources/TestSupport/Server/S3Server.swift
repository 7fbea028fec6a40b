import Glibc
import S3
import SystemPackage
import Threads

/// An S3 server on loopback that misbehaves on command: plain sockets, a thread for each connection, objects in memory
/// (or computed, or files). Tests in Swift use its methods, others its control interface over HTTP (`Control.swift`).
public final class S3Server: @unchecked Sendable {
    public struct Options: Sendable {
        /// 0: any free one.
        public var port: UInt16 = 0
        public var region = "us-east-1"
        /// Empty: requests need no signature.
        public var credentials: [ServerCredentials] = []
        /// Hosts whose first label may be a bucket.
        public var virtualHosts = ["localhost"]
        public var maxConnections = 1024
        /// Time before each answer, and each listing's.
        public var latencyMs = 0
        public var listLatencyMs = 0
        /// Of each connection; 0: no limit.
        public var bytesPerSecond = 0
        /// Seconds by which the server's clock is ahead.
        public var clockOffset: Int64 = 0
        /// Entries of a page of a listing.
        public var pageLimit = 1000

        public init() {}
    }

    struct State {
        var options: Options
        var buckets: [String: ObjectTable] = [:]
        var faults: [ServerFault] = []
        var log: [ServerLogEntry] = []
        var connections: [Int32: HTTPConnection] = [:]
        var finished: [Thread] = []
        var running: [Int32: Thread] = [:]
        var counts = ServerCounts()
        var isStopping = false
    }

    let state: Locked<State>
    private let listener: Int32
    private var acceptor: Thread?
    /// Called before each request is answered, on its thread; for whoever mirrors a directory.
    private let refresh: (@Sendable (S3Server) -> Void)?

    public let port: UInt16
    public var endpoint: String { "http://127.0.0.1:\(port)" }

    /// Listens on loopback and serves at once.
    public init(_ options: Options = Options(), refresh: (@Sendable (S3Server) -> Void)? = nil) throws(Errno) {
        (listener, port) = try Self.listen(options.port)
        state = Locked(State(options: options))
        self.refresh = refresh
        acceptor = Thread("s3-accept") { [self] in acceptConnections() }
    }

    /// Closes every connection and ends every thread.
    public func stop() {
        let wasStopping = state.withLock { state in
            defer { state.isStopping = true }
            for socket in state.connections.keys { shutdown(socket, Int32(SHUT_RDWR)) }
            return state.isStopping
        }
        guard !wasStopping else { return }
        shutdown(listener, Int32(SHUT_RDWR))
        acceptor?.join()
        close(listener)
        for thread in state.withLock({ $0.finished + $0.running.values }) { thread.join() }
    }

    // MARK: What is stored

    public func createBucket(_ name: String) {
        state.withLock { if $0.buckets[name] == nil { $0.buckets[name] = ObjectTable() } }
    }

    /// The bucket and all that is in it.
    public func removeBucket(_ name: String) { state.withLock { $0.buckets[name] = nil } }

    /// Puts or replaces an object, in a new bucket where needed; answers its ETag.
    @discardableResult
    public func put(_ bucket: String, _ key: ObjectKey, _ object: StoredObject) -> String {
        state.withLock { $0.buckets[bucket, default: ObjectTable()][key] = object }
        return object.etag
    }

    @discardableResult
    public func put(_ bucket: String, _ key: String, _ body: ObjectBody) -> String {
        put(bucket, ObjectKey(key), StoredObject(body))
    }

    @discardableResult
    public func put(_ bucket: String, _ key: String, _ text: String) -> String { put(bucket, key, .text(text)) }

    public func delete(_ bucket: String, _ key: ObjectKey) { state.withLock { $0.buckets[bucket]?[key] = nil } }
    public func delete(_ bucket: String, _ key: String) { delete(bucket, ObjectKey(key)) }

    public func object(_ bucket: String, _ key: ObjectKey) -> StoredObject? {
        state.withLock { $0.buckets[bucket]?[key] }
    }
    public func object(_ bucket: String, _ key: String) -> StoredObject? { object(bucket, ObjectKey(key)) }

    public func keys(_ bucket: String) -> [ObjectKey] { state.withLock { $0.buckets[bucket]?.keys ?? [] } }

    // MARK: Behaviour

    /// Changes options while the server runs (all but the port).
    public func configure(_ change: (inout Options) -> Void) { state.withLock { change(&$0.options) } }

    /// Adds a fault; of those that match a request the oldest is used.
    public func inject(_ fault: ServerFault) { state.withLock { $0.faults.append(fault) } }
    public func clearFaults() { state.withLock { $0.faults = [] } }

    public var log: [ServerLogEntry] { state.withLock { $0.log } }
    public var counts: ServerCounts { state.withLock { $0.counts } }
    public func clearLog() {
        state.withLock {
            $0.log = []
            $0.counts = ServerCounts(
                openConnections: $0.counts.openConnections, peakConnections: $0.counts.openConnections)
        }
    }

    // MARK: Connections

    private static func listen(_ port: UInt16) throws(Errno) -> (Int32, UInt16) {
        func check(_ status: Int32) throws(Errno) { if status < 0 { throw Errno(rawValue: errno) } }
        let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        try check(socket)
        var on: Int32 = 1
        setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<Int32>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let status = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                guard bind(socket, address, length) == 0, Glibc.listen(socket, 512) == 0 else { return Int32(-1) }
                return getsockname(socket, address, &length)
            }
        }
        do throws(Errno) { try check(status) } catch {
            close(socket)
            throw error
        }
        return (socket, UInt16(bigEndian: address.sin_port))
    }

    private func acceptConnections() {
        while true {
            let socket = accept(listener, nil, nil)
            if socket < 0 {
                if errno == EINTR || errno == ECONNABORTED { continue }
                return
            }
            let ended: [Thread] = state.withLock { state in
                defer { state.finished = [] }
                guard !state.isStopping, state.connections.count < state.options.maxConnections else {
                    close(socket)
                    return state.finished
                }
                let connection = HTTPConnection(socket)
                state.connections[socket] = connection
                state.counts.connections += 1
                state.counts.openConnections += 1
                state.counts.peakConnections = max(state.counts.peakConnections, state.counts.openConnections)
                let box = UncheckedBox(connection)
                state.running[socket] = Thread("s3-connection") { [self] in serve(box.value) }
                return state.finished
            }
            for thread in ended { thread.join() }
        }
    }

    /// Passes a connection to the one thread that uses it.
    private struct UncheckedBox<Value>: @unchecked Sendable {
        let value: Value
        init(_ value: Value) { self.value = value }
    }

    private func serve(_ connection: HTTPConnection) {
        do throws(HTTPConnection.Closed) {
            while true {
                let request = try connection.readRequest()
                refresh?(self)
                try answer(request, on: connection)
                if !request.keepsAlive { break }
            }
        } catch {}
        state.withLock { state in
            state.connections[connection.socket] = nil
            state.counts.openConnections -= 1
            if let thread = state.running.removeValue(forKey: connection.socket) { state.finished.append(thread) }
            close(connection.socket)
        }
    }
}

/// One request as it was answered.
public struct ServerLogEntry: Sendable, Codable {
    public var operation: ServerOperation
    public var method: String
    public var bucket: String
    /// Of a listing: its prefix. Bytes that aren't UTF-8 show as U+FFFD.
    public var key: String
    /// The Range header.
    public var range: String?
    public var ifMatch: String?
    public var status: Int
    /// Bytes of the body that were sent.
    public var bytes: UInt64
}

public struct ServerCounts: Sendable, Codable {
    public var requests = 0
    public var bytes: UInt64 = 0
    /// Accepted so far.
    public var connections = 0
    public var openConnections = 0
    public var peakConnections = 0
}
