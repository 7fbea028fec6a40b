import Logging
import PrometheusMetrics
import S3
import SystemPackage
import TestSupport
import Testing
import Threads

@testable import Namespace

/// Many threads against each other, in a bucket that changes under them.
struct ConcurrencyTests {
    private static let directories = 6
    private static let files = 40

    /// Waits for a call's answer on this thread.
    private func answer<Value: Sendable>(_ call: (@escaping @Sendable (Value) -> Void) -> Void) -> Value? {
        let promise = Promise<Value>()
        call { promise.fulfil($0) }
        return promise.wait(until: .now.advanced(byMs: 30_000))
    }

    @Test func lookupsListingsAndForgetsOfManyThreads() {
        let store = MemoryStore(.threads(2))
        defer { store.stop() }
        for d in 0..<Self.directories {
            for f in 0..<Self.files { store.put("d\(d)/f\(f)", "\(f)") }
        }
        let namespace = Namespace(
            store: store, prefix: ObjectKey(""), policy: MetadataPolicy(ttlMs: 2, negativeTTLMs: 2),
            metrics: Registry(), logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        let faults = Locked<[String]>([])
        let found = Locked(0)
        let seed = Seeded.seed
        let threads = (0..<6).map { n in
            Thread("user-\(n)") {
                var numbers = Seeded(seed &+ UInt64(n))
                for _ in 0..<150 {
                    let (d, f) = (
                        Int.random(in: 0..<Self.directories, using: &numbers),
                        Int.random(in: 0..<Self.files, using: &numbers)
                    )
                    guard case .success(let directory) = lookup(namespace, "d\(d)", rootInode, faults) else { continue }
                    switch Int.random(in: 0..<4, using: &numbers) {
                    case 0: list(namespace, directory.inode, faults)
                    case 1:
                        // f0 comes and goes all the time.
                        store.put("d\(d)/f0", "\(n)")
                        store.delete("d\(d)/f0")
                    default:
                        if case .success(let file) = lookup(namespace, "f\(f)", directory.inode, faults) {
                            found.withLock { $0 += 1 }
                            if let result = answer({ namespace.openVersion(file.inode, $0) }) {
                                check(result, "d\(d)/f\(f)", faults)
                            } else {
                                faults.withLock { $0.append("openVersion hangs") }
                            }
                            namespace.invalidate(file.inode)
                            namespace.forget(file.inode, lookups: 1)
                        }
                    }
                    namespace.forget(directory.inode, lookups: 1)
                }
            }
        }
        for thread in threads { thread.join() }
        #expect(faults.withLock { $0.prefix(5) } == [], "\(Seeded.hint)")
        #expect(found.withLock { $0 } > 50)
        #expect(namespace.counts.inodes == 0, "all were forgotten as often as they were looked up")
    }

    private func check(_ result: Result<FileVersion, Errno>, _ key: String, _ faults: Locked<[String]>) {
        switch result {
        case .success(let version) where version.key != ObjectKey(key):
            faults.withLock { $0.append("\(version.key) for \(key)") }
        // The one that comes and goes.
        case .failure(let errno) where errno != .staleNFSFileHandle || !key.hasSuffix("/f0"):
            faults.withLock { $0.append("\(errno) for \(key)") }
        default: break
        }
    }

    private func lookup(
        _ namespace: Namespace, _ name: String, _ parent: InodeNumber, _ faults: Locked<[String]>
    ) -> Result<Attributes, Errno> {
        let result: Result<Attributes, Errno>? = answer { done in
            Array(name.utf8).withUnsafeBytes { namespace.lookup($0, in: parent, done) }
        }
        guard let result else {
            faults.withLock { $0.append("the lookup of \(name) hangs") }
            return .failure(.timedOut)
        }
        if case .failure(let errno) = result, name != "f0" { faults.withLock { $0.append("\(errno) for \(name)") } }
        return result
    }

    /// Every name that is always there comes exactly once.
    private func list(_ namespace: Namespace, _ inode: InodeNumber, _ faults: Locked<[String]>) {
        guard case .success(let stream) = namespace.openDirectory(inode) else {
            return faults.withLock { $0.append("a directory can't be opened") }
        }
        defer { stream.close() }
        let seen = Locked<[String]>([])
        let cookie = Locked<UInt64>(0)
        while true {
            let before = cookie.withLock { $0 }
            let errno: Errno?? = answer { done in
                stream.read(
                    from: before, plus: false,
                    emit: { entry in
                        seen.withLock { $0.append(String(decoding: entry.name, as: UTF8.self)) }
                        cookie.withLock { $0 = entry.nextCookie }
                        return true
                    }, done: done)
            }
            guard case .some(.none) = errno else {
                return faults.withLock { $0.append("a listing fails or hangs: \(errno as Any)") }
            }
            if cookie.withLock({ $0 }) == before { break }
        }
        let names = seen.withLock { $0 }.filter { $0 != "." && $0 != ".." && $0 != "f0" }
        let expected = (1..<Self.files).map { "f\($0)" }
        if names.sorted() != expected.sorted() { faults.withLock { $0.append("listed: \(names.count) names") } }
    }
}
