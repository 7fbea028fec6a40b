import Glibc
import Logging
import PrometheusMetrics
import Synchronization
import SystemPackage
import Threads

/// Blocks of objects on a local disk: they survive restarts and crashes, and losing any of them costs no more than
/// fetching it again.
///
/// Each object version has a sparse data file and a map file. Nothing is served that isn't what was written: every
/// read is compared with its CRC32C. One thread writes, makes, and removes files; a few read.
public final class DiskCache: Sendable {
    /// The unit of what is kept, in bytes.
    public static let blockBytes = 64 << 10

    let directory: DiskDirectory
    let metrics: DiskMetrics
    let readers: DiskReaders
    let queue: WriteQueue
    let policy: SpacePolicy
    let pauseMs: Int
    private let registry: Registry
    let logger: Logger
    /// Held while files are made or moved, so that they are where the index says.
    let placing = Lock()
    let shelf = Locked(Shelf())
    /// No writes before this moment: the disk was full or broken.
    let pausedUntil = Atomic<UInt64>(0)
    let fullComplaint = Complaint()
    private let corruptComplaint = Complaint()
    private let writer = Locked<Thread?>(nil)

    struct Shelf {
        var index = DiskIndex()
        var datasets = DiskDatasets()
        var open: [DiskDigest: (entry: DiskEntry, uses: Int)] = [:]
        /// Until then the index doesn't know every file.
        var isScanned = false
        var isClosed = false
    }

    /// Locks the directory, which no other engine may use meanwhile, and starts the cache's threads. What is in the
    /// directory already is listed in the background.
    ///
    /// - Parameters:
    ///   - maxBytes: the most that the cache's files take on disk.
    ///   - reservedFreeBytes: what is left free on the file system for others; by default 1 GiB, or 5 % of a small one.
    ///   - queueBytes: memory for blocks that wait to be written.
    ///   - pauseMs: how long nothing is written after the disk was full or failed.
    ///   - lookMs: how often it looks whether others fill the disk, and gives way.
    public init(
        directory path: String, maxBytes: UInt64, reservedFreeBytes: UInt64? = nil, queueBytes: Int = 32 << 20,
        pauseMs: Int = 30_000, lookMs: Int = 5_000, metrics registry: Registry, logger: Logger
    ) throws(DiskCacheError) {
        directory = try DiskDirectory(path)
        policy = SpacePolicy(
            maxBytes: maxBytes,
            reservedFreeBytes: reservedFreeBytes ?? min(1 << 30, (directory.totalBytes() ?? 0) / 20))
        metrics = DiskMetrics(registry)
        readers = DiskReaders(count: 2)
        queue = WriteQueue(bytes: queueBytes)
        self.pauseMs = pauseMs
        self.registry = registry
        self.logger = logger
        findFolders()
        let thread = Thread("disk-write") { [self] in
            scan()
            write(lookMs: lookMs)
        }
        writer.withLock { $0 = thread }
        registry.computed("millrace_disk_cache_bytes", "Room that the disk cache takes on disk") { [weak self] in
            Double(self?.counts.bytes ?? 0)
        }
        registry.computed("millrace_disk_cache_objects", "Object versions in the disk cache") { [weak self] in
            Double(self?.counts.objects ?? 0)
        }
    }

    /// Writes what is queued (for 5 s at most), stops the threads and gives the directory back. Entries that are still
    /// in use answer reads with false.
    public func close() {
        let isFirst = shelf.withLock { shelf in
            defer { shelf.isClosed = true }
            return !shelf.isClosed
        }
        guard isFirst else { return }
        queue.close()
        writer.withLock { $0 }?.join()
        readers.close()
        for dataset in shelf.withLock({ $0.datasets.all }) where dataset.sessions > 0 {
            directory.describe(dataset.policy, in: dataset.folder)
        }
        directory.close()
    }

    /// Object versions that are on disk, and the room they take in bytes.
    public var counts: (objects: Int, bytes: UInt64) { shelf.withLock { ($0.index.count, $0.index.bytes) } }

    // MARK: datasets

    /// A session of a dataset begins; end it by `leave`. What it says of priority, pin and quota holds from now on, also
    /// for what is here already and after a restart.
    public func enter(_ policy: CachePolicy) -> DatasetNumber {
        let (number, dataset) = shelf.withLock { shelf in
            let number = shelf.datasets.enter(policy, now: Self.seconds)
            return (number, shelf.datasets[number])
        }
        directory.describe(dataset.policy, in: dataset.folder)
        count(number, dataset.policy.dataset)
        return number
    }

    public func leave(_ number: DatasetNumber) {
        let dataset = shelf.withLock { shelf in
            shelf.datasets.leave(number, now: Self.seconds)
            return shelf.isClosed ? nil : shelf.datasets[number]
        }
        if let dataset { directory.describe(dataset.policy, in: dataset.folder) }
    }

    /// What a dataset has on disk: room in bytes, and object versions.
    public func usage(of dataset: String) -> (bytes: UInt64, objects: Int) {
        shelf.withLock { shelf in
            guard let at = shelf.datasets.all.firstIndex(where: { $0.policy.dataset == dataset }) else { return (0, 0) }
            return shelf.index.usage(of: DatasetNumber(at))
        }
    }

    func count(_ number: DatasetNumber, _ name: String) {
        registry.computed(
            "millrace_cache_bytes", "Room that a dataset's bytes take in the disk cache", ["dataset": name]
        ) { [weak self] in
            Double(self?.shelf.withLock { $0.index.usage(of: number).bytes } ?? 0)
        }
    }

    static var seconds: Int { Int(time(nil)) }

    // MARK: entries

    /// The object's entry, shared by all who have it open, to be given back by `release`. Opens its files if it is on
    /// disk. Nil: the cache is closed, the object is empty, or its files can't be opened now.
    ///
    /// - Parameter dataset: whose session asks. The files stay with the dataset that brought them, unless this one would
    ///   keep them longer.
    public func entry(_ key: DiskKey, of dataset: DatasetNumber = 0) -> DiskEntry? {
        guard key.size > 0, let entry = find(key, dataset) else { return nil }
        if entry.dataset != dataset { claim(entry, for: dataset) }
        return entry
    }

    private func find(_ key: DiskKey, _ dataset: DatasetNumber) -> DiskEntry? {
        let digest = key.digest
        let (open, known, datasets, mayExist, isClosed) = shelf.withLock {
            shelf -> (DiskEntry?, DiskPlace?, DiskDatasets, Bool, Bool) in
            let place = shelf.index.dataset(of: digest).map {
                DiskPlace(dataset: $0, folder: shelf.datasets[$0].folder)
            }
            if shelf.isClosed { return (nil, place, shelf.datasets, false, true) }
            if let entry = Self.use(digest, &shelf) { return (entry, place, shelf.datasets, true, false) }
            return (nil, place, shelf.datasets, shelf.index.touch(digest) || !shelf.isScanned, false)
        }
        if open != nil || isClosed { return open }
        // While not all files are known, another dataset may have brought it in an earlier run.
        let place =
            known ?? (mayExist ? owner(of: digest, in: datasets) : nil)
            ?? DiskPlace(dataset: dataset, folder: datasets[dataset].folder)

        // Files are opened under no lock: another thread may have been faster, or evicted them.
        let entry = DiskEntry(key, digest, at: place, cache: self)
        let bytes = mayExist ? entry.load() : nil
        let (winner, isStale) = shelf.withLock { shelf -> (DiskEntry?, Bool) in
            if let other = Self.use(digest, &shelf) { return (other, false) }
            let known = shelf.index.dataset(of: digest)
            if bytes != nil, shelf.isScanned ? known == nil : known ?? place.dataset != place.dataset {
                return (nil, true)
            }
            if let bytes { shelf.index.set(digest, bytes: bytes, of: place.dataset) }
            shelf.open[digest] = (entry, 1)
            return (entry, false)
        }
        if winner !== entry { entry.close() }
        return isStale ? find(key, dataset) : winner
    }

    /// Whose folder has the file, of those that are known. A look for each: only done while the scan runs.
    private func owner(of digest: DiskDigest, in datasets: DiskDatasets) -> DiskPlace? {
        for (number, dataset) in datasets.all.enumerated()
        where DiskFiles.exists(digest, in: directory, folder: dataset.folder) {
            return DiskPlace(dataset: DatasetNumber(number), folder: dataset.folder)
        }
        return nil
    }

    /// A dataset uses an entry that is another's: the one with the higher rank keeps it.
    func claim(_ entry: DiskEntry, for dataset: DatasetNumber) {
        placing.withLock {
            let place = shelf.withLock { shelf -> DiskPlace? in
                guard shelf.datasets.outranks(dataset, entry.dataset) else { return nil }
                return DiskPlace(dataset: dataset, folder: shelf.datasets[dataset].folder)
            }
            guard let place, entry.move(to: place) else { return }
            shelf.withLock { $0.index.move(entry.digest, to: dataset) }
        }
    }

    private static func use(_ digest: DiskDigest, _ shelf: inout Shelf) -> DiskEntry? {
        shelf.open[digest]?.uses += 1
        return shelf.open[digest]?.entry
    }

    // MARK: for entries

    var epoch: Epoch { directory.epoch }

    /// False for a while after the disk was full or failed.
    var isWriting: Bool { Instant.now.nanoseconds >= pausedUntil.load(ordering: .relaxed) }

    func retain(_ entry: DiskEntry) { shelf.withLock { $0.open[entry.digest]?.uses += 1 } }

    func release(_ entry: DiskEntry) {
        let isLast = shelf.withLock { shelf in
            guard let uses = shelf.open[entry.digest]?.uses else { return false }
            if uses > 1 {
                shelf.open[entry.digest]?.uses -= 1
                return false
            }
            shelf.open[entry.digest] = nil
            return true
        }
        if isLast { entry.close() }
    }

    func reportCorrupt(_ digest: DiskDigest, _ block: Int) {
        metrics.corruptBlocks.add()
        guard corruptComplaint.isDue(everyMs: 60_000) else { return }
        logger.error(
            "a block of the disk cache is not what was written and is fetched again; is the disk failing?",
            metadata: [
                "file": "\(digest.name)", "block": "\(block)", "blocks-so-far": "\(metrics.corruptBlocks.value)",
            ])
    }
}
