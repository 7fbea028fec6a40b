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
    static let runLimit = 16
    /// How long a stopping cache goes on writing what is queued.
    private static let drainMs = 5_000

    private let lock = Lock()
    private let filled: Condition
    private let area: UnsafeMutableRawPointer
    private var free: [UnsafeMutableRawPointer]
    private var items = FIFO<Item>()
    /// Set by `close`; what is left then is dropped.
    private var end: Instant?

    /// `bytes`: room for blocks; at least one.
    init(bytes: Int) {
        filled = Condition(lock)
        let blocks = max(1, bytes / DiskCache.blockBytes)
        area = .allocate(byteCount: blocks * DiskCache.blockBytes, alignment: 4096)
        free = []
        free.reserveCapacity(blocks)
        for i in (0..<blocks).reversed() { free.append(area + i * DiskCache.blockBytes) }
    }

    deinit { area.deallocate() }

    /// Copies the bytes. False where there is no room, or the queue is closed.
    func push(_ entry: DiskEntry, _ block: Int, _ bytes: UnsafeRawBufferPointer) -> Bool {
        guard let buffer = lock.withLock({ end == nil ? free.popLast() : nil }) else { return false }
        buffer.copyMemory(from: bytes.baseAddress!, byteCount: bytes.count)
        let item = Item(entry: entry, block: block, bytes: UnsafeRawBufferPointer(start: buffer, count: bytes.count))
        lock.withLock {
            items.append(item)
            filled.signal()
        }
        return true
    }

    /// Waits for blocks: consecutive ones of one entry, `runLimit` at most. Nil once closed and empty.
    /// `isLate`: they came out after the time for draining and are to be dropped.
    func next() -> (run: [Item], isLate: Bool)? {
        lock.withLock {
            while items.isEmpty {
                if end != nil { return nil }
                _ = filled.wait()
            }
            var run: [Item] = []
            while run.count < Self.runLimit, let item = items.first {
                if let last = run.last, last.entry !== item.entry || last.block + 1 != item.block { break }
                run.append(item)
                _ = items.popFirst()
            }
            return (run, end.map { $0 < .now } ?? false)
        }
    }

    /// Gives back the memory of a run.
    func recycle(_ run: [Item]) {
        lock.withLock {
            for item in run { free.append(UnsafeMutableRawPointer(mutating: item.bytes.baseAddress!)) }
        }
    }

    func close() {
        lock.withLock {
            if end == nil { end = .now.advanced(byMs: Self.drainMs) }
            filled.broadcast()
        }
    }
}
