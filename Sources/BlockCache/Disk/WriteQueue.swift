import Glibc
import Threads

/// Blocks on their way to the disk, copied into a fixed amount of memory. What doesn't fit is refused, never waited for.
final class WriteQueue: @unchecked Sendable {
    struct Item {
        let entry: DiskEntry
        let block: Int
        /// Valid until `recycle`.
        let bytes: UnsafeRawBufferPointer
    }

    /// Blocks that the writer takes at once, at most.
    static let batchLimit = 16
    /// After a burst of more than this, in bytes, the memory goes back to the system.
    private static let keptBytes = 4 << 20
    /// How long a stopping cache goes on writing what is queued.
    private static let drainMs = 5_000

    private let lock = Lock()
    private let filled: Condition
    private let area: UnsafeMutableRawBufferPointer
    private var free: [UnsafeMutableRawPointer]
    private var items = FIFO<Item>()
    /// The fewest free buffers since all were free.
    private var fewestFree: Int
    /// Set by `close`; what is left then is dropped.
    private var end: Instant?

    /// `bytes`: room for blocks; at least one.
    init(bytes: Int) {
        filled = Condition(lock)
        let blocks = max(1, bytes / DiskCache.blockBytes)
        area = .allocate(byteCount: blocks * DiskCache.blockBytes, alignment: 4096)
        free = (0..<blocks).reversed().map { [area] in area.baseAddress! + $0 * DiskCache.blockBytes }
        fewestFree = blocks
    }

    deinit { area.deallocate() }

    /// Copies the bytes. False where there is no room, or the queue is closed.
    func push(_ entry: DiskEntry, _ block: Int, _ bytes: UnsafeRawBufferPointer) -> Bool {
        let buffer = lock.withLock { () -> UnsafeMutableRawPointer? in
            guard end == nil, let buffer = free.popLast() else { return nil }
            fewestFree = min(fewestFree, free.count)
            return buffer
        }
        guard let buffer else { return false }
        buffer.copyMemory(from: bytes.baseAddress!, byteCount: bytes.count)
        let item = Item(entry: entry, block: block, bytes: UnsafeRawBufferPointer(start: buffer, count: bytes.count))
        lock.withLock {
            items.append(item)
            filled.signal()
        }
        return true
    }

    /// Waits for blocks: some of one entry in their order in the object, `batchLimit` at most. Nil once closed and empty.
    /// `isLate`: they came out after the time for draining and are to be dropped.
    func next() -> (batch: [Item], isLate: Bool)? {
        lock.withLock {
            while items.isEmpty {
                if end != nil { return nil }
                _ = filled.wait()
            }
            var batch: [Item] = []
            while batch.count < Self.batchLimit, let item = items.first {
                if let last = batch.last, last.entry !== item.entry { break }
                batch.append(item)
                _ = items.popFirst()
            }
            batch.sort { $0.block < $1.block }
            return (batch, end.map { $0 < .now } ?? false)
        }
    }

    /// Gives back the memory of a batch.
    func recycle(_ batch: [Item]) {
        lock.withLock {
            for item in batch { free.append(UnsafeMutableRawPointer(mutating: item.bytes.baseAddress!)) }
            let total = area.count / DiskCache.blockBytes
            guard free.count == total else { return }
            if (total - fewestFree) * DiskCache.blockBytes > Self.keptBytes {
                madvise(area.baseAddress, area.count, MADV_DONTNEED)
            }
            fewestFree = total
        }
    }

    func close() {
        lock.withLock {
            if end == nil { end = .now.advanced(byMs: Self.drainMs) }
            filled.broadcast()
        }
    }
}
