import BlockCache
import Logging
import Namespace
import PrometheusMetrics
import S3
import Synchronization
import SystemPackage
import Threads

/// The read-only file system of one S3 prefix. It knows neither libfuse nor Kubernetes.
///
/// Names, attributes and directories come straight from `namespace`; this adds open files and their bytes.
public final class FileSystem: Sendable {
    public let namespace: Namespace
    let options: FileSystemOptions
    let store: any ObjectStore
    let cache: BlockCache
    let metrics: FileMetrics
    /// Of the disk cache, as long as this is there.
    let dataset: DatasetNumber
    private let openedInodes = Locked(OpenedInodes())
    private let logger: Logger
    private let order: Locked<DirectoryOrder>
    private let orderShare = Locked(FairShare.Stream())
    /// Whose rights bytes are cached under, and how often that has changed.
    private let scope: Locked<String>
    let scopeChanges = Atomic<Int>(0)
    private let staleHandler = Locked<(@Sendable (InodeNumber) -> Void)?>(nil)

    private let consumedHandler = Locked<(@Sendable (InodeNumber, Range<UInt64>) -> Void)?>(nil)
    /// Sizes of the files that are gone through now for the first time.
    private let streamedBytes = Atomic<Int>(0)

    /// Files whose pages the kernel may still have are read from there, so nothing is fetched at their open, unless the
    /// last of them was read from here after all: then the pages are gone.
    private let isPageCacheCold = Atomic<Bool>(false)

    public init(
        store: any ObjectStore, namespace: Namespace, cache: BlockCache, options: FileSystemOptions,
        metrics: Registry, logger: Logger
    ) {
        self.store = store
        self.namespace = namespace
        self.cache = cache
        self.options = options
        scope = Locked(options.scope)
        self.metrics = FileMetrics(metrics)
        dataset = cache.enter(options.cache)
        self.logger = logger
        order = Locked(DirectoryOrder(depth: options.nextFiles))
    }

    deinit { cache.leave(dataset) }

    /// Called once for each handle that finds its version gone from the bucket, so that the kernel's caches of the inode
    /// are dropped. It runs on a transfer thread and must not wait: the kernel's invalidation waits for reads that this
    /// very thread is to answer.
    public var onStale: (@Sendable (InodeNumber) -> Void)? {
        get { staleHandler.withLock { $0 } }
        set { staleHandler.withLock { $0 = newValue } }
    }

    /// Called with pages that the kernel needn't keep, behind a reader of more than `keptBytes`. It runs on the thread
    /// that has the read and must not wait, as above.
    public var onConsumed: (@Sendable (InodeNumber, Range<UInt64>) -> Void)? {
        get { consumedHandler.withLock { $0 } }
        set { consumedHandler.withLock { $0 = newValue } }
    }

    /// Opens a file: pins the version that is known of it, or asks S3 where that is too old.
    public func open(_ inode: InodeNumber, _ done: @escaping @Sendable (Result<OpenFile, Errno>) -> Void) {
        namespace.openVersion(inode) { [self] result in
            switch result {
            case .failure(let errno): done(.failure(errno))
            case .success(let version) where !version.isReadable: done(.failure(.permissionDenied))
            case .success(let version):
                let file = OpenFile(self, inode, version)
                begin(file)
                done(.success(file))
                prefetchNextFiles(file)
            }
        }
    }

    /// A handle that the kernel still has from an engine that is gone. Asks nobody.
    public func reopen(_ inode: InodeNumber, version: FileVersion) -> OpenFile {
        let file = OpenFile(self, inode, version)
        register(file)
        return file
    }

    private func register(_ file: OpenFile) {
        file.keepPageCache = openedInodes.withLock { $0.opened(file.inode) }
    }

    private func begin(_ file: OpenFile) {
        register(file)
        guard !file.keepPageCache || isPageCacheCold.load(ordering: .relaxed), file.passthroughFile() == nil else {
            return
        }
        file.fetchIfSmall()
    }

    func closed(_ file: OpenFile, wasRead: Bool) {
        openedInodes.withLock { $0.closed(file.inode) }
        if file.keepPageCache { isPageCacheCold.store(wasRead, ordering: .relaxed) }
    }

    /// The version that a handle had pinned is gone.
    func becameStale(_ inode: InodeNumber) {
        namespace.invalidate(inode)
        openedInodes.withLock { $0.forget(inode) }
        onStale?(inode)
    }

    /// A file turns out to be gone through, or is no more.
    func streams(_ bytes: Int) { streamedBytes.wrappingAdd(bytes, ordering: .relaxed) }

    /// A reader has left these bytes of a file behind that nobody had opened before.
    func leftBehind(_ bytes: Range<UInt64>, of file: OpenFile) {
        guard streamedBytes.load(ordering: .relaxed) > options.keptBytes,
            openedInodes.withLock({ $0.openCount(file.inode) }) == 1
        else { return }
        metrics.droppedBytes.add(bytes.count)
        onConsumed?(file.inode, bytes)
    }

    /// Has everything that is fetched from here on, also for files that are open, cached under another scope; what was
    /// cached under the one before is no longer read.
    public func changeScope(_ next: String) {
        scope.withLock { $0 = next }
        scopeChanges.add(1, ordering: .releasing)
    }

    func object(_ version: FileVersion) -> CachedObject {
        cache.open(
            FileVersionKey(
                scope: scope.withLock { $0 }, bucket: options.bucket, key: version.key, etag: version.etag,
                versionID: version.versionID, size: version.size), store: store, of: dataset)
    }

    private func prefetchNextFiles(_ file: OpenFile) {
        guard options.nextFiles > 0, file.version.size <= options.wholeObjectBytes else { return }
        let budget = orderShare.withLock { cache.fairShare.bytes(for: &$0, now: .now) }
        let query = order.withLock { $0.opened(file.inode) }
        var answer: [DirectoryOrder.File] = []
        if let query {
            // The namespace has locks of its own.
            answer = namespace.files(after: query.after, count: query.count).map {
                .init(inode: $0.inode, version: $0.version)
            }
        }
        let files = order.withLock { order in
            if let query { order.answer(query, answer) }
            return order.next(after: file.inode, budgetBytes: budget)
        }
        for next in files {
            guard next.version.size <= options.wholeObjectBytes, next.version.size > 0, next.version.isReadable,
                isPageCacheCold.load(ordering: .relaxed) || !openedInodes.withLock({ $0.contains(next.inode) })
            else { continue }
            let object = object(next.version)
            let end = object.prefetch(0..<next.version.size, partBytes: options.partBytes, priority: .readAhead)
            object.release(givesUpRequests: false)
            metrics.nextFiles.add()
            guard end == next.version.size else {
                order.withLock { $0.wasDenied() }
                return
            }
        }
    }
}
