import S3
import SystemPackage

/// Hears that S3 has another version of an object by now, or none. Called on a transfer thread.
public protocol ObjectObserver: AnyObject, Sendable {
    func objectBecameStale()
}

/// One version of an object: which of its blocks are here or on their way, and who waits for them.
///
/// A block is fetched once, however many ask. All state is guarded by the cache's lock.
public final class CachedObject: @unchecked Sendable {
    public let key: FileVersionKey
    let store: any ObjectStore
    let cache: BlockCache

    var table: BlockTable
    /// Its blocks on disk. Held while it is open or being fetched: each entry has files open.
    var disk: DiskEntry?
    var openCount = 0
    /// Blocks with a slot: fetching or present.
    var blockCount = 0
    var fetches: [Fetch] = []
    var waiters: [PendingRead] = []
    /// S3 has another version by now, or none: nothing of this one is given out any more.
    private(set) var isStale = false
    private var observers: [any ObjectObserver] = []

    init(_ key: FileVersionKey, store: any ObjectStore, cache: BlockCache) {
        self.key = key
        self.store = store
        self.cache = cache
        table = BlockTable(blockCount: Int((key.size + UInt64(Arena.slotBytes) - 1) / UInt64(Arena.slotBytes)))
    }

    static func blocks(of bytes: Range<UInt64>) -> Range<Int> {
        guard !bytes.isEmpty else { return 0..<0 }
        return Int(bytes.lowerBound >> UInt64(Arena.slotShift))..<Int((bytes.upperBound - 1) >> UInt64(Arena.slotShift))
            + 1
    }

    /// The bytes of some blocks; the object's last block may be short, and what lies behind it is empty.
    func bytes(of blocks: Range<Int>) -> Range<UInt64> {
        let shift = UInt64(Arena.slotShift)
        return min(key.size, UInt64(blocks.lowerBound) << shift)..<min(key.size, UInt64(blocks.upperBound) << shift)
    }

    /// Tells `observer` once this version is gone; ended by `stopObserving`.
    public func observe(_ observer: any ObjectObserver) { cache.lock.withLock { observers.append(observer) } }

    public func stopObserving(_ observer: any ObjectObserver) {
        cache.lock.withLock { observers.removeAll { $0 === observer } }
    }

    /// A descriptor of the complete object on disk, valid until `release()`; nil while it isn't complete there.
    public func completeFile() -> FileDescriptor? { cache.lock.withLock { disk }?.completeFile() }

    // MARK: With the lock held

    /// One of its blocks is gone. With the last one goes the object, unless it is open.
    func dropBlock() {
        blockCount -= 1
        removeIfUnused()
    }

    func removeIfUnused() {
        guard openCount == 0, blockCount == 0, fetches.isEmpty else { return }
        if cache.objects[key] === self { cache.objects[key] = nil }
    }

    /// The disk's entry, to be released by the caller, once nobody has it open and nothing is on its way.
    func takeUnusedDiskEntry(_ actions: inout Actions) {
        guard openCount == 0, fetches.isEmpty, let entry = disk else { return }
        disk = nil
        actions.closings.append(entry)
    }

    func becomeStale(_ actions: inout Actions) {
        guard !isStale else { return }
        actions.stale += observers
        isStale = true
        // The same version may come back in the bucket: whoever opens it then starts anew.
        if cache.objects[key] === self { cache.objects[key] = nil }
    }

    func fetch(writing block: Int) -> Fetch? {
        fetches.first { !$0.isAbandoned && $0.blocks.contains(block) && block >= $0.doneEnd }
    }
}
