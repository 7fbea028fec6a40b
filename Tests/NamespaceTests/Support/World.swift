import Logging
import PrometheusMetrics
import S3
import SystemPackage
import Threads

@testable import Namespace

/// A namespace over a `KeyStore`, with calls that run the store until they are answered.
final class World: @unchecked Sendable {
    let store: KeyStore
    let namespace: Namespace
    let registry = Registry()
    private let time: Locked<Instant>

    init(_ keys: [String] = [], prefix: String = "", policy: MetadataPolicy = .immutable) {
        store = KeyStore(keys)
        let time = Locked(Instant(nanoseconds: 1_000_000_000_000))
        let store = store
        self.time = time
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        namespace = Namespace(
            store: store, prefix: ObjectKey(prefix), policy: policy, metrics: registry, logger: logger
        ) { time.withLock { $0 }.advanced(byMs: store.nowMs) }
    }

    /// Another namespace over the same bucket, as a new engine makes it.
    init(after other: World, policy: MetadataPolicy = .immutable) {
        store = other.store
        let time = Locked(Instant(nanoseconds: 2_000_000_000_000))
        let store = store
        self.time = time
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        namespace = Namespace(
            store: store, prefix: ObjectKey(""), policy: policy, metrics: registry, logger: logger
        ) { time.withLock { $0 }.advanced(byMs: store.nowMs) }
    }

    func advance(ms: Int) { time.withLock { $0 = $0.advanced(byMs: ms) } }

    func lookup(_ name: String, in parent: InodeNumber = rootInode) -> Result<Attributes, Errno> {
        lookup(Array(name.utf8), in: parent)
    }

    func lookup(_ name: [UInt8], in parent: InodeNumber = rootInode) -> Result<Attributes, Errno> {
        wait { done in name.withUnsafeBytes { namespace.lookup($0, in: parent, done) } }
    }

    /// Looks every part of a path up.
    func walk(_ path: String) -> Result<Attributes, Errno> {
        var result: Result<Attributes, Errno> = .failure(.noSuchFileOrDirectory)
        var parent = rootInode
        for name in path.split(separator: "/") {
            result = lookup(String(name), in: parent)
            guard case .success(let attributes) = result else { return result }
            parent = attributes.inode
        }
        return result
    }

    func openVersion(_ inode: InodeNumber) -> Result<FileVersion, Errno> {
        wait { namespace.openVersion(inode, $0) }
    }

    func attributes(_ inode: InodeNumber, refresh: Bool = false) -> Result<Attributes, Errno> {
        wait { namespace.attributes(inode, refresh: refresh, $0) }
    }

    func wait<Value: Sendable>(_ body: (@escaping @Sendable (Value) -> Void) -> Void) -> Value {
        let answer = Locked<[Value]>([])
        body { value in answer.withLock { $0.append(value) } }
        while answer.withLock({ $0.isEmpty }) {
            precondition(store.step(), "nothing is under way, and nobody was answered")
        }
        let all = answer.withLock { $0 }
        precondition(all.count == 1, "answered \(all.count) times")
        return all[0]
    }

    struct Listed: Equatable {
        var name: [UInt8]
        var attributes: Attributes
        var cookie: UInt64
        var text: String { String(decoding: name, as: UTF8.self) }
    }

    /// One read of a stream, of at most `limit` entries.
    func read(
        _ stream: DirectoryStream, from cookie: UInt64, plus: Bool = false, limit: Int = .max
    ) -> (entries: [Listed], errno: Errno?) {
        let entries = Locked<[Listed]>([])
        let errno: Errno? = wait { done in
            stream.read(
                from: cookie, plus: plus,
                emit: { entry in
                    entries.withLock { entries in
                        guard entries.count < limit else { return false }
                        entries.append(
                            Listed(name: Array(entry.name), attributes: entry.attributes, cookie: entry.nextCookie))
                        return true
                    }
                }, done: done)
        }
        return (entries.withLock { $0 }, errno)
    }

    /// All entries of a directory, without "." and "..", in reads of `limit` entries.
    func list(
        _ inode: InodeNumber = rootInode, plus: Bool = false, limit: Int = 700
    ) -> Result<[Listed], Errno> {
        namespace.openDirectory(inode).flatMap { stream in
            defer { stream.close() }
            var all: [Listed] = []
            var cookie: UInt64 = 0
            while true {
                let (entries, errno) = read(stream, from: cookie, plus: plus, limit: limit)
                if let errno { return .failure(errno) }
                guard let last = entries.last else { return .success(Array(all.dropFirst(2))) }
                all += entries
                cookie = last.cookie
            }
        }
    }

    func names(_ inode: InodeNumber = rootInode) -> [String] { (try? list(inode).get().map(\.text)) ?? ["failed"] }

    /// Walks the whole tree as `find` does: a directory is read to its end, then those in it.
    @discardableResult
    func find(_ inode: InodeNumber = rootInode, plus: Bool = true) throws -> (files: Int, directories: Int) {
        var files = 0
        var directories = 0
        var stack = [inode]
        while let next = stack.popLast() {
            let entries = try list(next, plus: plus).get()
            files += entries.count { !$0.attributes.isDirectory }
            let below = entries.filter(\.attributes.isDirectory).map(\.attributes.inode)
            directories += below.count
            stack += below.reversed()
        }
        return (files, directories)
    }
}
