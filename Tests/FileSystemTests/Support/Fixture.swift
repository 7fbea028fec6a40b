import BlockCache
import BlockCacheTestSupport
import Logging
import Namespace
import PrometheusMetrics
import S3
import SystemPackage
import TestSupport
import Threads

@testable import FileSystem

/// A file system over a store in memory, in manual mode unless told otherwise: every call is complete when it returns.
final class Fixture: Sendable {
    let store: MemoryStore
    let cache: BlockCache
    let fileSystem: FileSystem
    private let isManual: Bool

    init(
        _ delivery: MemoryStore.Delivery = .manual, memory: Int = 64 << 20, policy: MetadataPolicy = .immutable,
        options: FileSystemOptions = FileSystemOptions(scope: "s", bucket: "b")
    ) {
        let registry = Registry()
        let logger = Logger(label: "test")
        if case .manual = delivery { isManual = true } else { isManual = false }
        store = MemoryStore(delivery)
        cache = BlockCache(memoryBytes: memory, metrics: registry, logger: logger)
        let namespace = Namespace(
            store: store, prefix: ObjectKey(""), policy: policy, metrics: registry, logger: logger)
        fileSystem = FileSystem(
            store: store, namespace: namespace, cache: cache, options: options, metrics: registry, logger: logger)
    }

    func settle() { if isManual { store.run() } }

    /// Waits for what a call with a completion answers.
    func result<Value: Sendable>(
        _ call: (@escaping @Sendable (Result<Value, Errno>) -> Void) -> Void
    ) -> Result<Value, Errno> {
        let promise = Promise<Result<Value, Errno>>()
        call { promise.fulfil($0) }
        settle()
        return promise.wait(until: .now.advanced(byMs: isManual ? 0 : 30_000)) ?? .failure(.timedOut)
    }

    func lookup(_ name: String, in parent: InodeNumber = rootInode) -> Result<InodeNumber, Errno> {
        result { (done: @escaping @Sendable (Result<Attributes, Errno>) -> Void) in
            Array(name.utf8).withUnsafeBytes { fileSystem.namespace.lookup($0, in: parent, done) }
        }.map(\.inode)
    }

    func open(_ inode: InodeNumber) -> Result<OpenFile, Errno> { result { fileSystem.open(inode, $0) } }

    /// As the kernel opens a path: a name that turns out stale is looked up once more.
    func open(_ name: String) -> Result<OpenFile, Errno> {
        let first = lookup(name).flatMap { open($0) }
        return first == .failure(.staleNFSFileHandle) ? lookup(name).flatMap { open($0) } : first
    }

    func read(_ file: OpenFile, _ offset: UInt64, _ count: Int) -> Reader.Answer? {
        let reader = Reader()
        file.read(offset: offset, count: count, reader)
        settle()
        return isManual ? reader.answer : reader.wait()
    }

    /// Nothing is on its way, pinned, waited for or open.
    var isAtRest: Bool {
        let usage = cache.usage
        return usage.fetchingCount == 0 && usage.pinCount == 0 && usage.queuedReadCount == 0 && usage.openCount == 0
    }
}

private func == (a: Result<OpenFile, Errno>, b: Result<OpenFile, Errno>) -> Bool {
    if case .failure(let x) = a, case .failure(let y) = b { return x == y }
    return false
}

func bytes(_ range: Range<UInt64>, size: UInt64, seed: UInt64) -> Reader.Answer {
    .bytes(ObjectBody.generated(size: size, seed: seed).bytes(in: range))
}
