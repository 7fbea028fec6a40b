import Glibc
import Threads

/// Blocks on their way to the disk, in a fixed amount of memory. What readers bring along is copied, and refused where it
/// doesn't fit: a read never waits for the disk. A warm-up has its room given before it asks S3, and waits for that.
final class WriteQueue: @unchecked Sendable {
    struct Item {
        let entry: DiskEntry
        let block: Int
        /// Valid until `recycle`.
        let bytes: UnsafeRawBufferPointer
        /// Of a warm-up, which hears whether the block was written.
        var written: (@Sendable (Bool) -> Void)?
    }

    /// Room for blocks, one each.
    struct Room: @unchecked Sendable {
        fileprivate(set) var buffers: [UnsafeMutableRawPointer]
        /// Where the next block's bytes go; nil: all are used.
        var last: UnsafeMutableRawPointer? { buffers.last }
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
    /// Those who wait for room, each for so many blocks.
    private var waiting = FIFO<(count: Int, given: @Sendable (Room?) -> Void)>()
    /// Blocks of room that warm-ups have.
    private var reserved = 0
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

    private var capacity: Int { area.count / DiskCache.blockBytes }
    /// Blocks of room that warm-ups may have; the other half is for what readers bring along.
    private var reservable: Int { max(1, capacity / 2) }
    /// The most blocks that one `reserve` may ask for, so that several can be under way.
    var largestReservation: Int { max(1, reservable / 8) }

    /// Copies the bytes. False where there is no room, or the queue is closed.
    func push(_ entry: DiskEntry, _ block: Int, _ bytes: UnsafeRawBufferPointer) -> Bool {
        let buffer = lock.withLock { end == nil ? takeFree() : nil }
        guard let buffer else { return false }
        buffer.copyMemory(from: bytes.baseAddress!, byteCount: bytes.count)
        let bytes = UnsafeRawBufferPointer(start: buffer, count: bytes.count)
        return append(Item(entry: entry, block: block, bytes: bytes))
    }

    /// False once it is closed: the writer may have gone.
    private func append(_ item: Item) -> Bool {
        lock.withLock {
            guard end == nil else { return false }
            items.append(item)
            filled.signal()
            return true
        }
    }

    private func takeFree() -> UnsafeMutableRawPointer? {
        guard let buffer = free.popLast() else { return nil }
        fewestFree = min(fewestFree, free.count)
        return buffer
    }

    // MARK: warm-ups

    /// Gives room for `count` blocks (`largestReservation` at most): at once, or from the writer's thread once there is
    /// some, first come first served; nil once the queue is closed.
    func reserve(_ count: Int, _ given: @escaping @Sendable (Room?) -> Void) {
        precondition(count <= largestReservation, "more than one reservation may have")
        let ready = lock.withLock { () -> [() -> Void] in
            waiting.append((count, given))
            return serveWaiting()
        }
        for give in ready { give() }
    }

    /// With the lock held; the answers are to be called without it.
    private func serveWaiting() -> [() -> Void] {
        var ready: [() -> Void] = []
        while let first = waiting.first {
            guard end == nil else {
                _ = waiting.popFirst()
                ready.append { first.given(nil) }
                continue
            }
            guard reserved + first.count <= reservable, first.count <= free.count else { break }
            _ = waiting.popFirst()
            reserved += first.count
            let room = Room(buffers: (0..<first.count).map { _ in takeFree()! })
            ready.append { first.given(room) }
        }
        return ready
    }

    /// Queues a block whose bytes are in the room's last buffer, which is the queue's again; false once it is closed.
    func push(
        _ entry: DiskEntry, _ block: Int, count: Int, from room: inout Room, written: @escaping @Sendable (Bool) -> Void
    ) -> Bool {
        let buffer = room.buffers.removeLast()
        let bytes = UnsafeRawBufferPointer(start: buffer, count: count)
        return append(Item(entry: entry, block: block, bytes: bytes, written: written))
    }

    /// Gives back what is left of a room.
    func giveBack(_ room: inout Room) {
        let buffers = room.buffers
        room.buffers = []
        recycle(buffers, reserved: buffers.count)
    }

    // MARK: the writer

    enum Next {
        case batch([Item], isLate: Bool)
        /// Nothing came for a while.
        case nothing
        case end
    }

    /// Waits for blocks, `idleMs` at most: some of one entry in their order in the object, `batchLimit` at most. `isLate`:
    /// they came out after the time for draining and are to be dropped.
    func next(idleMs: Int) -> Next {
        let deadline = Instant.now.advanced(byMs: idleMs)
        return lock.withLock {
            while items.isEmpty {
                if end != nil { return .end }
                if !filled.wait(until: deadline) { return .nothing }
            }
            var batch: [Item] = []
            while batch.count < Self.batchLimit, let item = items.first {
                if let last = batch.last, last.entry !== item.entry { break }
                batch.append(item)
                _ = items.popFirst()
            }
            batch.sort { $0.block < $1.block }
            return .batch(batch, isLate: end.map { $0 < .now } ?? false)
        }
    }

    /// Gives back the memory of a batch.
    func recycle(_ batch: [Item]) {
        recycle(
            batch.map { UnsafeMutableRawPointer(mutating: $0.bytes.baseAddress!) },
            reserved: batch.reduce(0) { $0 + ($1.written == nil ? 0 : 1) })
    }

    private func recycle(_ buffers: [UnsafeMutableRawPointer], reserved count: Int) {
        let ready = lock.withLock { () -> [() -> Void] in
            free += buffers
            reserved -= count
            let ready = serveWaiting()
            if free.count == capacity {
                if (capacity - fewestFree) * DiskCache.blockBytes > Self.keptBytes {
                    madvise(area.baseAddress, area.count, MADV_DONTNEED)
                }
                fewestFree = capacity
            }
            return ready
        }
        for give in ready { give() }
    }

    func close() {
        let ready = lock.withLock { () -> [() -> Void] in
            if end == nil { end = .now.advanced(byMs: Self.drainMs) }
            filled.broadcast()
            return serveWaiting()
        }
        for give in ready { give() }
    }
}
