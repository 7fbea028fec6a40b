import Logging
import PrometheusMetrics
import S3
import SystemPackage
import Threads

/// The object bytes that an engine holds in memory and on disk, shared by all its mounts under one budget.
///
/// One lock guards all of the state: it is held for the time of finding slots or marking blocks, never while bytes
/// are copied, replies are written or S3 or the disk are asked.
public final class BlockCache: @unchecked Sendable {
    /// Bytes of a block, the unit of fetching and holding. The last of an object is shorter.
    public static let blockBytes = Arena.slotBytes
    /// The least memory that it works with: the largest read, several times.
    public static let minimumMemoryBytes = 16 << 20

    /// Divides read-ahead's memory between the active readers.
    public let fairShare: FairShare

    let lock = Lock()
    let arenaBase: UnsafeMutableRawPointer
    /// A read of more blocks is refused, as several of them must fit at the same time.
    let largestReadBlocks: Int
    let metrics: CacheMetrics
    let logger: Logger

    // Guarded by the lock.
    var arena: Arena
    var slots: SlotTable
    var admission: Admission
    var objects: [FileVersionKey: CachedObject] = [:]
    /// Reads that wait for memory, in their order. They hold none meanwhile, so those who hold some can finish.
    var queue: [PendingRead] = []
    var fetchingCount = 0
    var pinnedCount = 0
    var openCount = 0

    let disk: DiskCache?

    /// - Parameters:
    ///   - memoryBytes: The hard budget of object bytes; at least `minimumMemoryBytes` is taken.
    ///   - disk: Asked for blocks before S3 is, and given those that S3 sends.
    public init(memoryBytes: Int, disk: DiskCache? = nil, metrics registry: Registry, logger: Logger) {
        self.disk = disk
        arena = Arena(bytes: max(memoryBytes, BlockCache.minimumMemoryBytes))
        arenaBase = arena.base
        largestReadBlocks = arena.slotCount / 4
        slots = SlotTable(count: arena.slotCount)
        admission = Admission(capacity: arena.slotCount)
        fairShare = FairShare(totalBytes: admission.aheadLimit * Arena.slotBytes)
        metrics = CacheMetrics(registry)
        self.logger = logger
        metrics.observe(self, registry)
    }

    /// The object's entry, shared by all opens of this version in this scope, until `release()` is called on it as
    /// often as it was opened. Asks S3 nothing; may open files of the disk cache.
    ///
    /// - Parameter dataset: from `enter`: whose bytes they are on disk.
    public func open(
        _ version: FileVersionKey, store: any ObjectStore, of dataset: DatasetNumber = 0
    ) -> CachedObject {
        let known = lock.withLock { () -> CachedObject? in
            guard let object = objects[version], disk == nil || object.disk != nil else { return nil }
            return opened(object)
        }
        if let known { return known }
        // Files are opened under no lock; another open of the same object may be faster.
        let entry = disk?.entry(version, of: dataset)
        let (object, isEntryTaken) = lock.withLock {
            let object = objects[version] ?? CachedObject(version, store: store, cache: self)
            objects[version] = object
            guard object.disk == nil else { return (opened(object), false) }
            object.disk = entry
            return (opened(object), true)
        }
        if !isEntryTaken { entry?.release() }
        return object
    }

    private func opened(_ object: CachedObject) -> CachedObject {
        openCount += 1
        object.openCount += 1
        return object
    }

    /// A session of a dataset begins, which `leave` ends. The number is for `open`.
    public func enter(_ policy: CachePolicy) -> DatasetNumber { disk?.enter(policy) ?? DiskDatasets.nobody }
    public func leave(_ dataset: DatasetNumber) { disk?.leave(dataset) }

    /// Gives up what readers have read to its end, which the kernel's page cache has too, and returns the memory of free
    /// slots to the system. For an engine that has had nothing to do for a while.
    public func releaseIdleMemory() {
        lock.withLock {
            while slots.count(.consumed) > 0 { evictOldest(.consumed) }
            _ = arena.giveBack()
        }
    }

    /// What is held and waited for at this moment.
    public struct Usage: Sendable, Equatable {
        public var capacityBytes: Int
        public var heldBytes: Int
        /// Held or fetched for nobody who has asked for it yet.
        public var aheadBytes: Int
        /// Blocks that a transfer is filling, pins of replies and waiting reads, reads that wait for memory.
        public var fetchingCount: Int
        public var pinCount: Int
        public var queuedReadCount: Int
        public var objectCount: Int
        public var openCount: Int
    }

    public var usage: Usage {
        lock.withLock {
            Usage(
                capacityBytes: arena.slotCount * Arena.slotBytes, heldBytes: arena.usedCount * Arena.slotBytes,
                aheadBytes: admission.aheadCount * Arena.slotBytes, fetchingCount: fetchingCount,
                pinCount: pinnedCount, queuedReadCount: queue.count, objectCount: objects.count,
                openCount: openCount)
        }
    }
}
