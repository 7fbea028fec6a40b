import Glibc
import Logging
import PrometheusMetrics
import S3
import SystemPackage
import Threads

/// The tree of one S3 prefix: inodes, lookups, listings.
///
/// One lock guards the table; it is held for a page of a listing at most. Requests are sent, and everybody is called
/// back, outside of it.
public final class Namespace: @unchecked Sendable {
    let store: any ObjectStore
    let policy: MetadataPolicy
    let metrics: NamespaceMetrics
    let logger: Logger
    let clock: @Sendable () -> Instant
    /// Seconds since 1970: the time of all directories.
    let created: Int64

    let lock = Lock()
    // All below: under `lock`.
    let table: Table
    var listings: [Listing] = []
    var detector = CrawlDetector()
    var lookups: [LookupKey: LookupFlight] = [:]
    var heads: [InodeNumber: [@Sendable (Result<FileVersion, Errno>) -> Void]] = [:]
    var emitted = 0
    /// When the root was listed that this began with.
    var begun: Instant?
    private var hiddenLogged = 0

    /// - Parameters:
    ///   - prefix: empty, or ends in "/".
    public convenience init(
        store: any ObjectStore, prefix: ObjectKey, policy: MetadataPolicy, metrics: Registry, logger: Logger
    ) {
        self.init(store: store, prefix: prefix, policy: policy, metrics: metrics, logger: logger) { .now }
    }

    init(
        store: any ObjectStore, prefix: ObjectKey, policy: MetadataPolicy, metrics: Registry, logger: Logger,
        clock: @escaping @Sendable () -> Instant
    ) {
        precondition(prefix.bytes.isEmpty || prefix.bytes.last == slash, "a prefix ends in \"/\"")
        self.store = store
        self.policy = policy
        self.metrics = NamespaceMetrics(metrics)
        self.logger = logger
        self.clock = clock
        created = Int64(time(nil))
        table = Table(prefix: prefix.bytes, maxBytes: policy.maxBytes)
    }

    // MARK: Freshness

    /// What was fetched before is too old.
    func since(_ ttlMs: Int, _ now: Instant) -> Instant {
        let ttl = min(UInt64(clamping: ttlMs), 1 << 40) * 1_000_000
        return Instant(nanoseconds: now.nanoseconds > ttl && ttlMs != .max ? now.nanoseconds - ttl : Self.always)
    }

    /// The age of what is asked for now. All is of one age where nothing ever changes, so that it joins.
    func stamp(_ now: Instant) -> Instant {
        policy.ttlMs == .max && policy.negativeTTLMs == .max ? Instant(nanoseconds: Self.always) : now
    }

    private static let always: UInt64 = 1

    // MARK: Inodes

    /// `refresh` false: at once, as an inode's attributes never change: a file's number stands for one version of it.
    /// True: S3 is asked first; ESTALE if the object was replaced or is gone.
    public func attributes(
        _ inode: InodeNumber, refresh: Bool, _ done: @escaping @Sendable (Result<Attributes, Errno>) -> Void
    ) {
        if inode == rootInode {
            return done(.success(Attributes(inode: rootInode, isDirectory: true, size: 0, modified: created)))
        }
        let known: Attributes? = lock.withLock { table.entry(inode).map { attributes($0.block, $0.index, inode) } }
        guard let known else { return done(.failure(.staleNFSFileHandle)) }
        guard refresh, !known.isDirectory else { return done(.success(known)) }
        metrics.headsForAttributes.add()
        head(inode) { result in done(result.map { _ in known }) }
    }

    func attributes(_ block: Block, _ i: Int, _ inode: InodeNumber) -> Attributes {
        let entry = block.entries[i]
        return Attributes(
            inode: inode, isDirectory: entry.isDirectory, size: entry.isDirectory ? 0 : entry.size,
            modified: entry.isDirectory ? created : entry.modified)
    }

    public func forget(_ inode: InodeNumber, lookups: UInt64) {
        lock.withLock {
            table.forget(inode, lookups)
            table.trim()
        }
        tellJournal()
    }

    /// Does no I/O. ESTALE: no such inode; ENOTDIR.
    public func openDirectory(_ inode: InodeNumber) -> Result<DirectoryStream, Errno> {
        lock.withLock {
            if let directory = table.directory(inode) {
                return .success(DirectoryStream(self, directory, opened: clock()))
            }
            return .failure(table.entry(inode) == nil ? .staleNFSFileHandle : .notDirectory)
        }
    }

    /// Of an inode that the kernel knows: a file's key, a directory's prefix. Nil: no such inode.
    public func key(of inode: InodeNumber) -> ObjectKey? {
        lock.withLock {
            if let directory = table.directory(inode) { return ObjectKey(directory.path) }
            return table.entry(inode).map { version($0.block, $0.index).key }
        }
    }

    /// Inodes that the kernel knows, and bytes of all that is kept.
    public var counts: (inodes: Int, bytes: Int) { lock.withLock { (table.index.count, table.memory) } }

    /// Files that are known from listings, and the sum of their sizes. A part of the bucket that nobody looked at, or
    /// that was dropped to save memory, is not in it.
    public var knownObjects: (count: Int, bytes: UInt64) { lock.withLock { table.files } }

    // MARK: Journal

    /// Set before first use.
    public var journal: (any InodeJournal)? {
        get { lock.withLock { table.journal?.journal } }
        set { lock.withLock { table.journal = newValue.map { JournalQueue($0) } } }
    }

    /// Tells the journal what changed, before the kernel hears of it.
    func tellJournal() {
        guard let queue = lock.withLock({ table.journal }) else { return }
        queue.delivery.withLock {
            for event in lock.withLock({ queue.take() }) {
                switch event {
                case .added(let record): queue.journal.added(record)
                case .forgot(let inode): queue.journal.forgot(inode)
                }
            }
        }
    }

    // MARK: Reports

    /// Logs the first names that can't be shown, counts all. Called with the lock held.
    func note(hidden: [(key: [UInt8], reason: String)]) {
        metrics.hidden.add(hidden.count)
        for (key, reason) in hidden where hiddenLogged < 100 {
            hiddenLogged += 1
            logger.warning(
                "A key can't be shown as a file: rename the object to see it",
                metadata: ["key": "\(printable(key))", "why": "\(reason)"])
        }
    }

    func report(_ error: S3Error, _ what: String, _ key: [UInt8]) {
        metrics.failures.add()
        logger.warning("\(what) failed", metadata: ["key": "\(printable(key))", "error": "\(error)"])
    }
}

/// A key for a log: without line breaks and control characters.
func printable(_ key: [UInt8]) -> String {
    var out = ""
    for scalar in String(decoding: key.prefix(300), as: UTF8.self).unicodeScalars {
        if scalar.value < 32 || scalar.value == 127 {
            out += "\\u{" + String(scalar.value, radix: 16) + "}"
        } else {
            out.unicodeScalars.append(scalar)
        }
    }
    return out
}
