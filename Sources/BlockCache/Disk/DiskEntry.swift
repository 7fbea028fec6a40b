import CLinux
import Glibc
import SystemPackage
import Threads

/// Where an entry's files are.
struct DiskPlace: Equatable {
    var dataset: DatasetNumber
    var folder: String
}

/// One object version in the disk cache, shared by all that have it open. Any thread may call it.
public final class DiskEntry: Sendable {
    let digest: DiskDigest
    private let size: UInt64
    private let cache: DiskCache
    private let state: Locked<State>

    private struct State {
        let blocks: BlockMap
        var place: DiskPlace
        var files: DiskFiles?
        /// What `completeFile` gave; open until the entry is closed.
        var whole: FileDescriptor?
        /// Where verification goes on; nil while none runs.
        var verifyFrom: Int?
        var isClosed = false
    }

    init(_ key: DiskKey, _ digest: DiskDigest, at place: DiskPlace, cache: DiskCache) {
        self.digest = digest
        self.size = key.size
        self.cache = cache
        state = Locked(State(blocks: BlockMap(count: Self.blockCount(key.size)), place: place))
    }

    var dataset: DatasetNumber { state.withLock { $0.place.dataset } }

    private static func blockCount(_ size: UInt64) -> Int {
        Int((size + UInt64(DiskCache.blockBytes) - 1) / UInt64(DiskCache.blockBytes))
    }

    /// Bytes in a run of blocks; the object's last block may be short.
    func length(_ blocks: Range<Int>) -> Int {
        Int(min(UInt64(blocks.upperBound * DiskCache.blockBytes), size)) - blocks.lowerBound * DiskCache.blockBytes
    }

    /// Whether the block is on disk. No I/O.
    public func has(_ block: Int) -> Bool { state.withLock { $0.blocks[block].isOnDisk } }

    // MARK: reading

    /// Reads and verifies blocks on a disk thread; calls back with true, or false (corrupt or gone: then they no longer
    /// "has"). `into` must hold the blocks' bytes and stay valid until then. Nothing is to be read from it after false.
    public func read(
        _ blocks: Range<Int>, into buffer: UnsafeMutableRawBufferPointer, _ done: @escaping @Sendable (Bool) -> Void
    ) {
        cache.retain(self)
        let cache = cache
        cache.readers.submit(
            .init(entry: self, blocks: blocks, buffer: buffer) { [self] isRight in
                done(isRight)
                cache.release(self)
            })
    }

    /// The same on the caller's thread. `isReady`: only where the bytes are in the page cache, so that no disk is waited
    /// for; nil where they aren't.
    public func readNow(_ blocks: Range<Int>, into buffer: UnsafeMutableRawBufferPointer, isReady: Bool = true) -> Bool?
    {
        let files: DiskFiles? = state.withLock { state in
            blocks.allSatisfy { state.blocks[$0].isOnDisk } ? state.files : nil
        }
        guard let files else { return false }
        let buffer = UnsafeMutableRawBufferPointer(rebasing: buffer[..<length(blocks)])
        guard files.read(into: buffer, at: UInt64(blocks.lowerBound * DiskCache.blockBytes), isReady: isReady) else {
            if isReady { return nil }
            for block in blocks { distrust(block, files) }
            return false
        }
        let areRight = check(blocks, UnsafeRawBufferPointer(buffer), files)
        if areRight { cache.metrics.readBytes.add(buffer.count) }
        return areRight
    }

    /// Compares what was read with its CRCs; forgets the blocks that differ.
    private func check(_ blocks: Range<Int>, _ bytes: UnsafeRawBufferPointer, _ files: DiskFiles) -> Bool {
        var areRight = true
        var isNewlyVerified = false
        for block in blocks {
            let start = (block - blocks.lowerBound) * DiskCache.blockBytes
            let checksum = clinux_crc32c(0, bytes.baseAddress! + start, min(DiskCache.blockBytes, bytes.count - start))
            let isRight = state.withLock { state in
                guard state.blocks[block].isOnDisk, state.blocks.checksum(block) == checksum else { return false }
                if state.blocks[block] == .present {
                    state.blocks[block] = .verified
                    isNewlyVerified = state.blocks.isVerified
                }
                return true
            }
            if !isRight {
                distrust(block, files)
                areRight = false
            }
        }
        if isNewlyVerified { try? files.markVerified(in: cache.epoch) }
        return areRight
    }

    /// The block's bytes aren't what was written: on disk first, so that a write of it can't be undone by this.
    private func distrust(_ block: Int, _ files: DiskFiles) {
        try? files.markUnverified()
        files.erase(block)
        let isNews = state.withLock { state in
            defer { if state.blocks[block].isOnDisk { state.blocks[block] = .absent } }
            return state.blocks[block].isOnDisk
        }
        if isNews { cache.reportCorrupt(digest, block) }
    }

    // MARK: writing

    /// Copies bytes, all of one block, and writes them behind; dropped where the queue is full.
    public func write(_ block: Int, _ bytes: UnsafeRawBufferPointer) {
        precondition(bytes.count == length(block..<block + 1), "a whole block is written")
        guard cache.isWriting else { return cache.metrics.droppedBlocks.add() }
        let isWanted = state.withLock { state in
            guard !state.isClosed, state.blocks[block] == .absent else { return false }
            state.blocks[block] = .queued
            return true
        }
        guard isWanted else { return }
        cache.retain(self)
        if !cache.queue.push(self, block, bytes) { drop(block) }
    }

    /// Forgets a queued block.
    func drop(_ block: Int) {
        state.withLock { $0.blocks[block] = .absent }
        cache.metrics.droppedBlocks.add()
        cache.release(self)
    }

    /// Writes queued blocks, in order. On the writer's thread. Answers the files' room on disk, in bytes.
    func store(_ batch: [WriteQueue.Item]) throws(Errno) -> UInt64 {
        let files: DiskFiles
        if let open = state.withLock({ $0.files }) {
            files = open
        } else {
            files = try create()
        }
        var start = 0
        while start < batch.count {
            var end = start + 1
            while end < batch.count, batch[end].block == batch[end - 1].block + 1 { end += 1 }
            try store(batch[start..<end], files)
            start = end
        }
        return files.diskBytes
    }

    private func create() throws(Errno) -> DiskFiles {
        cache.placing.lock()
        defer { cache.placing.unlock() }
        let folder = state.withLock { $0.place.folder }
        let files = try DiskFiles.create(digest, size: size, in: cache.directory, folder: folder)
        state.withLock { $0.files = files }
        return files
    }

    /// Puts the files, if there are any, into another dataset's folder. The caller holds the cache's `placing`.
    func move(to place: DiskPlace) -> Bool {
        let (old, hasFiles) = state.withLock { ($0.place, $0.files != nil) }
        guard old != place,
            !hasFiles || DiskFiles.move(digest, from: old.folder, to: place.folder, in: cache.directory)
        else { return false }
        state.withLock { $0.place = place }
        return true
    }

    /// Consecutive blocks.
    private func store(_ run: ArraySlice<WriteQueue.Item>, _ files: DiskFiles) throws(Errno) {
        let blocks = run.map { ($0.bytes, clinux_crc32c(0, $0.bytes.baseAddress, $0.bytes.count)) }
        try files.write(blocks, from: run.first!.block)
        let isWhole = state.withLock { state in
            for (item, block) in zip(run, blocks) { state.blocks.set(item.block, .verified, checksum: block.1) }
            return state.blocks.isVerified
        }
        if isWhole { try? files.markVerified(in: cache.epoch) }
        cache.metrics.writtenBytes.add(blocks.reduce(0) { $0 + $1.0.count })
    }

    // MARK: warming up

    /// Bytes of the object that are on disk.
    public var presentBytes: UInt64 {
        state.withLock { state in
            let last = state.blocks.count - 1
            let whole = UInt64(state.blocks.present) * UInt64(DiskCache.blockBytes)
            return state.blocks[last].isOnDisk
                ? whole - UInt64(DiskCache.blockBytes - length(last..<last + 1)) : whole
        }
    }

    /// Takes the blocks that are neither on disk nor on their way there, as runs of `limit` at most. Each of them must be
    /// stored or dropped.
    func claimAbsent(in blocks: Range<Int>, limit: Int) -> [Range<Int>] {
        let runs = state.withLock { state -> [Range<Int>] in
            guard !state.isClosed else { return [] }
            var runs: [Range<Int>] = []
            for block in blocks.clamped(to: 0..<state.blocks.count) where state.blocks[block] == .absent {
                state.blocks[block] = .queued
                if let last = runs.last, last.upperBound == block, last.count < limit {
                    runs[runs.count - 1] = last.lowerBound..<block + 1
                } else {
                    runs.append(block..<block + 1)
                }
            }
            return runs
        }
        for _ in 0..<runs.reduce(0, { $0 + $1.count }) { cache.retain(self) }
        return runs
    }

    // MARK: the whole file

    /// A descriptor to read the complete, verified file by (kernel passthrough); nil while a block is missing, and while
    /// what an unclean stop left, or somebody touched since, is verified, which the first call starts. Must not be
    /// closed; valid until `release`.
    public func completeFile() -> FileDescriptor? {
        let startsVerifying = state.withLock { state in
            guard !state.isClosed, state.blocks.present == state.blocks.count, !state.blocks.isVerified,
                state.verifyFrom == nil
            else { return false }
            state.verifyFrom = 0
            return true
        }
        if startsVerifying {
            cache.retain(self)
            if !cache.readers.verify(self) { stopVerifying() }
            return nil
        }
        let (isWhole, known) = state.withLock { ($0.blocks.isVerified && $0.files != nil, $0.whole) }
        guard isWhole, known == nil else { return isWhole ? known : nil }
        let folder = state.withLock { $0.place.folder }
        let file = cache.directory.open(DiskFiles.dataName(digest, in: folder), O_RDONLY)
        guard file >= 0 else { return nil }
        let (given, isSpare) = state.withLock { state in
            if state.isClosed { return (nil as FileDescriptor?, true) }
            if let other = state.whole { return (other, true) }
            state.whole = FileDescriptor(rawValue: file)
            return (state.whole, false)
        }
        if isSpare { Glibc.close(file) }
        return given
    }

    /// Verifies some blocks that nobody has read yet. False at the end.
    func verifyStep() -> Bool {
        let step: Range<Int>? = state.withLock { state in
            guard let from = state.verifyFrom, let first = state.blocks.first(.present, from: from) else { return nil }
            var end = first
            while end < state.blocks.count, end - first < WriteQueue.batchLimit, state.blocks[end] == .present {
                end += 1
            }
            state.verifyFrom = end
            return first..<end
        }
        guard let step else { return false }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: length(step), alignment: 4096)
        defer { buffer.deallocate() }
        return readNow(step, into: buffer, isReady: false) ?? false
    }

    func stopVerifying() {
        state.withLock { $0.verifyFrom = nil }
        cache.release(self)
    }

    // MARK: life

    /// Ends one use that `DiskCache.entry` began. The files are closed with the last one.
    public func release() { cache.release(self) }

    /// Opens what earlier runs left on disk. False where there is nothing of use. Answers its room on disk, in bytes.
    /// Before the entry is shared.
    func load() -> UInt64? {
        state.withLock { state in
            state.files = DiskFiles.openExisting(
                digest, size: size, in: cache.directory, folder: state.place.folder, into: state.blocks)
            return state.files?.diskBytes
        }
    }

    func close() {
        let whole = state.withLock { state in
            defer {
                state.isClosed = true
                state.files = nil
                state.whole = nil
            }
            return state.whole
        }
        try? whole?.close()
    }
}
