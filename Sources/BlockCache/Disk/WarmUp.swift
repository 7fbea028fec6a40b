import Glibc
import S3
import SystemPackage
import Threads

/// Brings a part of an object from S3 to the disk, past the memory that readers share.
///
/// A GET is started only once the write queue has given room for all its blocks. So a warm-up goes as fast as the disk
/// takes it, and unlike what readers bring along, nothing of it is dropped on the way.
final class WarmUp: @unchecked Sendable {
    private let entry: DiskEntry
    private let done: @Sendable (S3Error?, Errno?) -> Void
    private let state: Locked<State>

    private struct State {
        /// Parts that are under way, and one for `start` itself.
        var left = 1
        var error: S3Error?
        var errno: Errno?
    }

    /// `done`: called once, on any thread: what S3 answered, or what the disk did, where not all is there.
    private init(_ entry: DiskEntry, done: @escaping @Sendable (S3Error?, Errno?) -> Void) {
        self.entry = entry
        self.done = done
        state = Locked(State())
    }

    /// Fetches the blocks that are neither on disk nor on their way there.
    static func start(
        _ blocks: Range<Int>, of key: FileVersionKey, entry: DiskEntry, cache: DiskCache, store: any ObjectStore,
        done: @escaping @Sendable (S3Error?, Errno?) -> Void
    ) {
        let warmUp = WarmUp(entry, done: done)
        let runs = entry.claimAbsent(in: blocks, limit: cache.queue.largestReservation)
        warmUp.state.withLock { $0.left += runs.count }
        for run in runs {
            WarmPart(run, of: key, entry: entry, cache: cache) { warmUp.ended($0, $1) }.start(store)
        }
        warmUp.ended(nil, nil)
    }

    private func ended(_ error: S3Error?, _ errno: Errno?) {
        let last = state.withLock { state -> State? in
            state.error = state.error ?? error
            state.errno = state.errno ?? errno
            state.left -= 1
            return state.left == 0 ? state : nil
        }
        if let last { done(last.error, last.errno) }
    }
}

/// One GET of a warm-up.
private final class WarmPart: GetReceiver, @unchecked Sendable {
    private let blocks: Range<Int>
    private let key: FileVersionKey
    private let entry: DiskEntry
    private let cache: DiskCache
    private let done: @Sendable (S3Error?, Errno?) -> Void

    // The transfer's thread alone has these.
    private var room: WriteQueue.Room?
    private var block: Int
    private var filled = 0

    private let state: Locked<State>
    private struct State {
        /// Blocks that aren't stored or dropped yet, and one for the GET.
        var left: Int
        var error: S3Error?
        var errno: Errno?
    }

    init(
        _ blocks: Range<Int>, of key: FileVersionKey, entry: DiskEntry, cache: DiskCache,
        done: @escaping @Sendable (S3Error?, Errno?) -> Void
    ) {
        self.blocks = blocks
        self.key = key
        self.entry = entry
        self.cache = cache
        self.done = done
        block = blocks.lowerBound
        state = Locked(State(left: blocks.count + 1))
    }

    func start(_ store: any ObjectStore) {
        cache.queue.reserve(blocks.count) { [self] room in
            // Nothing is fetched that can't be written.
            guard let room, cache.isWriting else {
                if var room { cache.queue.giveBack(&room) }
                return end(nil, .noSpace)
            }
            self.room = room
            let start = UInt64(blocks.lowerBound * DiskCache.blockBytes)
            let range = start..<start + UInt64(entry.length(blocks))
            cache.metrics.warmedBytes.add(range.count)
            store.get(
                GetRequest(
                    key: key.key, range: range, etag: key.etag, versionID: key.versionID, size: key.size,
                    priority: .warmUp), self)
        }
    }

    func received(_ chunk: UnsafeRawBufferPointer, at offset: UInt64) {
        var chunk = UnsafeRawBufferPointer(rebasing: chunk[...])
        while block < blocks.upperBound, let buffer = room?.last {
            let length = entry.length(block..<block + 1)
            let count = min(length - filled, chunk.count)
            if count > 0 { (buffer + filled).copyMemory(from: chunk.baseAddress!, byteCount: count) }
            chunk = UnsafeRawBufferPointer(rebasing: chunk[count...])
            filled += count
            guard filled == length else { return }
            let number = block
            block += 1
            filled = 0
            let isTaken = cache.queue.push(entry, number, count: length, from: &room!) { [self] isWritten in
                blockEnded(isWritten)
            }
            if !isTaken {
                entry.drop(number)
                blockEnded(false)
            }
        }
    }

    func finished(_ result: Result<ObjectMetadata, S3Error>) {
        if var rest = room { cache.queue.giveBack(&rest) }
        room = nil
        switch result {
        case .failure(let error): end(error, nil)
        case .success: end(block < blocks.upperBound ? .badAnswer("the body ended early") : nil, nil)
        }
    }

    /// No more blocks come.
    private func end(_ error: S3Error?, _ errno: Errno?) {
        let missing = block..<blocks.upperBound
        for block in missing { entry.drop(block) }
        leave(missing.count + 1, error, errno)
    }

    private func blockEnded(_ isWritten: Bool) { leave(1, nil, isWritten ? nil : .noSpace) }

    private func leave(_ count: Int, _ error: S3Error?, _ errno: Errno?) {
        let last = state.withLock { state -> State? in
            state.error = state.error ?? error
            state.errno = state.errno ?? errno
            state.left -= count
            return state.left == 0 ? state : nil
        }
        if let last { done(last.error, last.errno) }
    }
}

extension CachedObject {
    /// Brings what is missing of `bytes` to the disk and calls `done` once it is there, on any thread, with the bytes of
    /// the whole object that are on disk; or with what went wrong, which leaves the rest for a later call.
    ///
    /// What others are writing at this moment isn't waited for: a further call tells whether it arrived.
    public func warmUp(
        _ bytes: Range<UInt64>, of dataset: DatasetNumber, _ done: @escaping @Sendable (Result<UInt64, Errno>) -> Void
    ) {
        guard let (entry, disk) = retainedEntry() else { return done(.failure(.notSupported)) }
        disk.claim(entry, for: dataset)
        let blockBytes = UInt64(DiskCache.blockBytes)
        let wanted = bytes.clamped(to: 0..<key.size)
        let blocks = Int(wanted.lowerBound / blockBytes)..<Int((wanted.upperBound + blockBytes - 1) / blockBytes)
        WarmUp.start(blocks, of: key, entry: entry, cache: disk, store: store) { [self] error, errno in
            if error == .changed || error == .noSuchKey { foundStale() }
            let present = entry.presentBytes
            disk.release(entry)
            done(error.map { .failure($0.readErrno) } ?? errno.map { .failure($0) } ?? .success(present))
        }
    }

    /// Bytes of the object that are on disk; nil without a disk cache.
    public var diskBytes: UInt64? {
        guard let (entry, disk) = retainedEntry() else { return nil }
        defer { disk.release(entry) }
        return entry.presentBytes
    }

    private func retainedEntry() -> (DiskEntry, DiskCache)? {
        guard let disk = cache.disk else { return nil }
        return cache.lock.withLock {
            guard let entry = self.disk else { return nil }
            disk.retain(entry)
            return (entry, disk)
        }
    }

    private func foundStale() {
        var actions = Actions()
        cache.lock.withLock { becomeStale(&actions) }
        cache.perform(actions)
    }
}
