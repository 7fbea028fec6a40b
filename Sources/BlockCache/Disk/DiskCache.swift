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
    private let policy: SpacePolicy
    private let pauseMs: Int
    private let logger: Logger
    private let shelf = Locked(Shelf())
    /// No writes before this moment: the disk was full or broken.
    private let pausedUntil = Atomic<UInt64>(0)
    private let fullComplaint = Complaint()
    private let corruptComplaint = Complaint()
    private let writer = Locked<Thread?>(nil)

    private struct Shelf {
        var index = DiskIndex()
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
    public init(
        directory path: String, maxBytes: UInt64, reservedFreeBytes: UInt64? = nil, queueBytes: Int = 32 << 20,
        pauseMs: Int = 30_000, metrics registry: Registry, logger: Logger
    ) throws(DiskCacheError) {
        directory = try DiskDirectory(path)
        policy = SpacePolicy(
            maxBytes: maxBytes,
            reservedFreeBytes: reservedFreeBytes ?? min(1 << 30, (directory.totalBytes() ?? 0) / 20))
        metrics = DiskMetrics(registry)
        readers = DiskReaders(count: 2)
        queue = WriteQueue(bytes: queueBytes)
        self.pauseMs = pauseMs
        self.logger = logger
        let thread = Thread("disk-write") { [self] in
            scan()
            while let (batch, isLate) = queue.next() { isLate ? drop(batch) : store(batch) }
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
        directory.close()
    }

    /// Object versions that are on disk, and the room they take in bytes.
    public var counts: (objects: Int, bytes: UInt64) { shelf.withLock { ($0.index.count, $0.index.bytes) } }

    /// The object's entry, shared by all who have it open, to be given back by `release`. Opens its files if it is on
    /// disk. Nil: the cache is closed, the object is empty, or its files can't be opened now.
    public func entry(_ key: DiskKey) -> DiskEntry? {
        guard key.size > 0 else { return nil }
        let digest = key.digest
        let (open, mayExist, isClosed) = shelf.withLock { shelf -> (DiskEntry?, Bool, Bool) in
            if shelf.isClosed { return (nil, false, true) }
            if let entry = Self.use(digest, &shelf) { return (entry, true, false) }
            return (nil, shelf.index.touch(digest) || !shelf.isScanned, false)
        }
        if open != nil || isClosed { return open }

        // Files are opened under no lock: another thread may have been faster, or evicted them.
        let entry = DiskEntry(key, digest, cache: self)
        let bytes = mayExist ? entry.load() : nil
        let (winner, isStale) = shelf.withLock { shelf -> (DiskEntry?, Bool) in
            if let other = Self.use(digest, &shelf) { return (other, false) }
            if bytes != nil, shelf.isScanned, !shelf.index.contains(digest) { return (nil, true) }
            if let bytes { shelf.index.set(digest, bytes: bytes) }
            shelf.open[digest] = (entry, 1)
            return (entry, false)
        }
        if winner !== entry { entry.close() }
        return isStale ? self.entry(key) : winner
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

    func create(_ digest: DiskDigest, size: UInt64) throws(Errno) -> DiskFiles {
        try DiskFiles.create(digest, size: size, in: directory)
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

    // MARK: the writer's thread

    private func store(_ batch: [WriteQueue.Item]) {
        let entry = batch[0].entry
        let bytes = batch.reduce(UInt64(0)) { $0 + UInt64($1.bytes.count) } + 8192  // and the map's part
        makeRoom(bytes)
        guard isWriting, let free = directory.freeBytes(), policy.admits(bytes, used: counts.bytes, free: free) else {
            if isWriting { complain("the disk cache is full of open files, or its disk is full of others'") }
            return drop(batch)
        }
        do throws(Errno) {
            let bytes = try entry.store(batch)
            shelf.withLock { $0.index.set(entry.digest, bytes: bytes) }
            queue.recycle(batch)
            for _ in batch { release(entry) }
        } catch {
            metrics.writeErrors.add()
            pausedUntil.store(Instant.now.advanced(byMs: pauseMs).nanoseconds, ordering: .relaxed)
            complain("cannot write to the disk cache: \(error); it rests for \(pauseMs / 1000) s, reads go on from S3")
            drop(batch)
        }
    }

    private func drop(_ batch: [WriteQueue.Item]) {
        queue.recycle(batch)
        for item in batch { item.entry.drop(item.block) }
    }

    private func complain(_ text: String) {
        if fullComplaint.isDue(everyMs: 600_000) { logger.warning("\(text)") }
    }

    /// Evicts the least recently used files that nobody has open, if `bytes` more would pass the high watermark.
    private func makeRoom(_ bytes: UInt64) {
        guard let free = directory.freeBytes() else { return }
        let excess = policy.excess(used: counts.bytes + bytes, free: free > bytes ? free - bytes : 0)
        var freed: UInt64 = 0
        while freed < excess {
            let victim = shelf.withLock { shelf -> (DiskDigest, UInt64)? in
                guard let digest = shelf.index.oldest(where: { shelf.open[$0] == nil }),
                    let bytes = shelf.index.remove(digest)
                else { return nil }
                return (digest, bytes)
            }
            guard let (digest, bytes) = victim else { return }
            directory.remove(DiskFiles.mapName(digest))
            directory.remove(digest.name)
            metrics.evictedBytes.add(Int(bytes))
            freed += bytes
        }
    }

    /// Lists what earlier runs left, in the order of its last use, and removes halves of pairs.
    private func scan() {
        let found = DiskScan.run(directory)
        shelf.withLock { shelf in
            for file in found where !shelf.index.contains(file.digest) {
                shelf.index.set(file.digest, bytes: file.bytes, asOldest: true)
            }
            shelf.isScanned = true
        }
    }
}

/// Something that is worth a line in the log only now and then.
private final class Complaint: Sendable {
    private let next = Atomic<UInt64>(0)

    /// Whether to say it now; then not again for so long.
    func isDue(everyMs: Int) -> Bool {
        let now = Instant.now
        let due = next.load(ordering: .relaxed)
        guard now.nanoseconds >= due else { return false }
        return next.compareExchange(
            expected: due, desired: now.advanced(byMs: everyMs).nanoseconds, ordering: .relaxed
        ).exchanged
    }
}
