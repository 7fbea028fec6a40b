import BlockCache
import Glibc
import Namespace
import Synchronization
import SystemPackage
import Threads

/// One open of a file: a pinned version, and how it is being read.
public final class OpenFile: Sendable {
    public let inode: InodeNumber
    public let version: FileVersion

    private let fileSystem: FileSystem
    private let reading: Locked<Reading>
    private let isKept = Atomic<Bool>(false)
    private let isStale = Atomic<Bool>(false)
    private let isClosed = Atomic<Bool>(false)

    private struct Reading {
        /// Of the scope that counts now, and those of scopes before, which reads may still be in.
        var object: CachedObject
        var scopeChanges: Int
        var retired: [CachedObject] = []
        var readAhead: ReadAhead
        var share = FairShare.Stream()
        var lastReadWaited = false
        var isWholeAskedFor = false
        var wasRead = false
        var dropBehind: DropBehind
        var isStreamed = false
    }

    init(_ fileSystem: FileSystem, _ inode: InodeNumber, _ version: FileVersion) {
        self.fileSystem = fileSystem
        self.inode = inode
        self.version = version
        let scopeChanges = fileSystem.scopeChanges.load(ordering: .acquiring)
        let object = fileSystem.object(version)
        let options = fileSystem.options
        reading = Locked(
            Reading(
                object: object, scopeChanges: scopeChanges,
                readAhead: ReadAhead(
                    size: version.size,
                    limits: .init(ceilingBytes: options.readAheadBytes, partBytes: options.partBytes)),
                dropBehind: DropBehind(lagBytes: UInt64(max(16 << 20, 4 * options.kernelReadAheadBytes)))))
        fileSystem.metrics.opens.add()
        fileSystem.metrics.openHandles.add(1)
        object.observe(self)
    }

    deinit { precondition(isClosed.load(ordering: .relaxed), "an open file was dropped without close()") }

    /// The kernel's pages of this inode are of this version.
    public internal(set) var keepPageCache: Bool {
        get { isKept.load(ordering: .relaxed) }
        set { isKept.store(newValue, ordering: .relaxed) }
    }

    /// What the bytes come from. Where the scope has changed since, that is another object.
    private var object: CachedObject {
        let changes = fileSystem.scopeChanges.load(ordering: .acquiring)
        let (known, isCurrent) = reading.withLock { ($0.object, $0.scopeChanges == changes) }
        if isCurrent { return known }
        let next = fileSystem.object(version)
        let isTaken = reading.withLock { reading in
            guard reading.scopeChanges < changes else { return false }
            reading.retired.append(reading.object)
            reading.object = next
            reading.scopeChanges = changes
            reading.isWholeAskedFor = false
            return true
        }
        if isTaken { next.observe(self) } else { next.release() }
        return reading.withLock { $0.object }
    }

    private var isSmall: Bool { version.size > 0 && version.size <= fileSystem.options.wholeObjectBytes }

    /// Starts to fetch the whole object where that is one request or two: it is about to be read.
    func fetchIfSmall() {
        guard isSmall else { return }
        fetchIfSmall(object)
    }

    private func fetchIfSmall(_ object: CachedObject) {
        let isFirst = reading.withLock { reading in
            defer { reading.isWholeAskedFor = true }
            return !reading.isWholeAskedFor
        }
        if isFirst { object.prefetch(0..<version.size, partBytes: fileSystem.options.partBytes, priority: .demand) }
    }

    /// Reads `count` bytes from `offset` on, or as many as there are. A hit is answered on this thread before the call
    /// returns, without an allocation; a miss later, on a transfer thread.
    public func read(offset: UInt64, count: Int, _ reply: any ReadReply) {
        guard !isStale.load(ordering: .acquiring) else { return reply.failed(.staleNFSFileHandle) }
        guard offset < version.size, count > 0 else {
            return reply.data(UnsafeBufferPointer(start: nil, count: 0))
        }
        let bytes = offset..<min(version.size, offset + UInt64(count))
        fileSystem.metrics.readBytes.add(bytes.count)
        let object = object
        if isSmall {
            reading.withLock { $0.wasRead = true }
            fetchIfSmall(object)
            object.read(bytes, isSequential: false, reply)
            return
        }
        let now = Instant.now
        let plan = reading.withLock { reading in
            let share = fileSystem.cache.fairShare.bytes(for: &reading.share, now: now)
            return reading.readAhead.read(bytes, waited: reading.lastReadWaited, shareBytes: share, now: now)
        }
        let outcome = object.read(bytes, isSequential: plan.isSequential, reply)
        let waited = outcome == .waiting
        let isFirstPass = !keepPageCache
        let (behind, begins) = reading.withLock { reading in
            reading.lastReadWaited = waited
            reading.wasRead = true
            guard isFirstPass,
                let behind = reading.dropBehind.read(bytes, isSequential: plan.isSequential)
            else { return (Range<UInt64>?.none, false) }
            defer { reading.isStreamed = true }
            return (behind, !reading.isStreamed)
        }
        if begins { fileSystem.streams(Int(version.size)) }
        if let behind { fileSystem.leftBehind(behind, of: self) }
        if !plan.isEmpty { follow(plan, object) }
    }

    private func follow(_ plan: ReadAhead.Plan, _ object: CachedObject) {
        if !plan.abandoned.isEmpty { object.abandon(plan.abandoned) }
        if !plan.ahead.isEmpty {
            let end = object.prefetch(plan.ahead, partBytes: Int(plan.partBytes), priority: .readAhead)
            if end < plan.ahead.upperBound { reading.withLock { $0.readAhead.wasCutShort(plan.ahead, at: end) } }
        }
        if let steps = plan.steps {
            for i in 0..<steps.count {
                object.prefetch(steps[i], partBytes: fileSystem.options.partBytes, priority: .readAhead)
            }
        }
    }

    /// Another version of the file is there now.
    func becomeStale() { isStale.store(true, ordering: .releasing) }

    /// The descriptor of a complete file with this version's bytes on the local disk, which the kernel may read by
    /// itself; it stays open until `close()`. Nil: there is none.
    public func passthroughFile() -> FileDescriptor? {
        fileSystem.options.passesThrough ? object.completeFile() : nil
    }

    /// No read is under way or follows.
    public func close() {
        guard !isClosed.exchange(true, ordering: .relaxed) else { return }
        let (unread, wasRead, isStreamed, object, retired) = reading.withLock {
            ($0.readAhead.unread, $0.wasRead, $0.isStreamed, $0.object, $0.retired)
        }
        if isStreamed { fileSystem.streams(-Int(version.size)) }
        for range in unread { object.abandon(range) }
        fileSystem.closed(self, wasRead: wasRead)
        fileSystem.metrics.openHandles.add(-1)
        for object in retired + [object] {
            object.stopObserving(self)
            object.release()
        }
    }
}

extension OpenFile: ObjectObserver {
    /// S3 has this version no more.
    public func objectBecameStale() {
        becomeStale()
        fileSystem.metrics.staleHandles.add()
        fileSystem.becameStale(inode)
    }
}
