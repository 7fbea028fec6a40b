import Glibc
import S3
import SystemPackage
import Threads

/// Copies objects to files: many at once, large ones in parts, each part with If-Match.
///
/// A run that was killed is resumed by running it again: finished files (same size and modification time) are left
/// alone, unfinished ones go on at the parts that are missing.
public final class CopyJob: Sendable {
    public struct Counts: Sendable {
        public var files = 0
        public var skipped = 0
        /// Read from the source.
        public var bytes: UInt64 = 0
        /// At their place: read now, or there from before.
        public var bytesDone: UInt64 = 0
        /// Objects and bytes that were announced; all of them once `isListed`.
        public var objectsFound = 0
        public var bytesFound: UInt64 = 0
        public var isListed = false
        public var restarts = 0
        public var failures: [CopyError] = []
        public init() {}
    }

    private struct State {
        var counts = Counts()
        var inFlight = 0
        var stopped = false
        /// Replaced meanwhile: to be begun anew.
        var changed: [CopyItem] = []
    }

    static let mostRestarts = 3

    private let store: any ObjectStore
    private let destination: String
    private let options: CopyOptions
    private let directories: Directories
    private let verifier: Verifier
    private let state = Locked(State())
    private let lock = Lock()
    private let slotFreed: Condition

    /// `destination`: the directory that the items' relative paths start from, or the file where a path is empty.
    public init(store: any ObjectStore, destination: String, options: CopyOptions = CopyOptions()) {
        self.store = store
        self.destination = destination
        self.options = options
        directories = Directories(destination: destination)
        verifier = Verifier(store: store, options: options)
        slotFreed = Condition(lock)
    }

    public var counts: Counts { state.withLock { $0.counts } }

    /// Ends the run early: nothing new is started; what was whole stays for a later run.
    public func stop() { state.withLock { $0.stopped = true } }
    public var isStopped: Bool { state.withLock { $0.stopped } }

    /// For the progress: so much is going to be added.
    public func found(objects: Int, bytes: UInt64) {
        state.withLock {
            $0.counts.objectsFound += objects
            $0.counts.bytesFound += bytes
        }
    }
    public func foundAll() { state.withLock { $0.counts.isListed = true } }

    /// Copies one item: starts its GETs, waiting for free slots, and returns when the last one has been started.
    public func add(_ item: CopyItem) {
        if isStopped { return }
        let path = item.relativePath.isEmpty ? destination : "\(destination)/\(item.relativePath)"
        do {
            if !options.overwrite, item.restarts == 0, try isCurrent(item, at: path) {
                state.withLock {
                    $0.counts.skipped += 1
                    $0.counts.bytesDone += item.size
                }
                return
            }
            try directories.make(for: item.relativePath)
            let part = try PartFile(item, at: path)
            let file = CopyFile(part, item)
            file.count(part.wholeBytes, in: self)
            guard !part.missing.isEmpty else {
                take()
                return conclude(file)
            }
            for index in part.missing { start(index, of: file) }
        } catch {
            fail(error)
        }
    }

    /// Counts a key that can't become a file.
    public func refuse(_ key: ObjectKey, _ why: String) { fail(CopyError(path: key.description, reason: why)) }

    /// Waits until every started GET has ended, and copies anew what was replaced meanwhile.
    public func finish() -> Counts {
        while true {
            waitUntil { $0.inFlight == 0 }
            let changed = state.withLock { state in
                defer { state.changed = [] }
                return state.changed
            }
            guard !changed.isEmpty, !isStopped else { break }
            for item in changed { restart(item) }
        }
        reportMissing()
        verifier.stop()
        return counts
    }

    private func restart(_ old: CopyItem) {
        let promise = Promise<Result<ObjectMetadata, S3Error>>()
        store.head(old.key) { promise.fulfil($0) }
        switch promise.wait(until: Instant.now.advanced(byMs: 300_000)) ?? .failure(.timedOut) {
        case .failure(let error):
            fail(CopyError(path: old.key.description, reason: "it was replaced, and then: \(error)"))
        case .success(let metadata):
            var item = old
            (item.etag, item.size, item.modified) = (metadata.etag, metadata.size, metadata.modified)
            item.restarts += 1
            state.withLock { $0.counts.restarts += 1 }
            add(item)
        }
    }

    /// A file that has a checksum and no object is as wrong as one that differs.
    private func reportMissing() {
        guard !isStopped else { return }
        for path in verifier.pathsNotSeen {
            fail(
                CopyError(
                    path: path, reason: "it has a checksum in the list, and the source has no such object", kind: .final
                ))
        }
    }

    // MARK: Slots

    private func waitUntil(_ condition: (State) -> Bool) {
        lock.withLock {
            while !state.withLock({ condition($0) }) { _ = slotFreed.wait(until: Instant.now.advanced(byMs: 1000)) }
        }
    }

    private func take() { state.withLock { $0.inFlight += 1 } }

    private func release() {
        state.withLock { $0.inFlight -= 1 }
        lock.withLock { slotFreed.broadcast() }
    }

    private func start(_ part: Int, of file: CopyFile) {
        waitUntil { $0.inFlight < options.concurrency || $0.stopped }
        if isStopped || file.isGivenUp {
            _ = file.giveUp()
            guard file.wasLast() else { return }
            take()
            return conclude(file)
        }
        take()
        let item = file.item
        let receiver = PartReceiver(job: self, file: file, part: part)
        store.get(
            GetRequest(
                key: item.key, range: file.part.range(of: part), etag: item.etag, size: item.size, priority: .readAhead),
            receiver)
    }

    // MARK: What transfer threads tell

    func received(_ count: Int) {
        state.withLock {
            $0.counts.bytes += UInt64(count)
            $0.counts.bytesDone += UInt64(count)
        }
    }

    func adjust(bytesDone: Int64) {
        state.withLock { $0.counts.bytesDone = UInt64(max(0, Int64(clamping: $0.counts.bytesDone) + bytesDone)) }
    }

    func ended(_ part: Int, of file: CopyFile, _ failure: CopyError?) {
        var failure = failure
        do throws(CopyError) {
            if failure == nil { try file.part.completed(part: part) }
        } catch {
            failure = error
        }
        if let failure, file.giveUp(), !file.isChanged { fail(failure) }
        if file.wasLast() { conclude(file) } else { release() }
    }

    /// The last part of a file has ended; the slot is held until the file is at its place.
    private func conclude(_ file: CopyFile) {
        if file.isChanged {
            file.part.discard()
            file.uncount(in: self)
            replaced(file.item)
        } else if !file.isGivenUp {
            if verifier.hasWork(for: file.item) {
                return verifier.submit(file.item, file.part) { [self] failure in
                    place(file, failure)
                    release()
                }
            }
            place(file, nil)
        }
        file.part.end()
        release()
    }

    private func place(_ file: CopyFile, _ failure: CopyError?) {
        defer { file.part.end() }
        do throws(CopyError) {
            if let failure {
                file.part.discard()
                throw failure
            }
            try file.part.finish()
            state.withLock { $0.counts.files += 1 }
        } catch {
            fail(error)
        }
    }

    private func replaced(_ item: CopyItem) {
        guard options.onChange == .restart, item.restarts < Self.mostRestarts else {
            let times = item.restarts > 0 ? ", \(item.restarts + 1) times" : ""
            return fail(
                CopyError(path: item.key.description, reason: "the object was replaced while it was copied\(times)"))
        }
        state.withLock { $0.changed.append(item) }
    }

    private func fail(_ error: any Error) {
        let error = error as? CopyError ?? CopyError(path: destination, reason: "\(error)")
        state.withLock { state in
            state.counts.failures.append(error)
            if error.kind != .single { state.stopped = true }
        }
    }

    private func isCurrent(_ item: CopyItem, at path: String) throws(CopyError) -> Bool {
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG, UInt64(status.st_size) == item.size,
            Int64(status.st_mtim.tv_sec) == item.modified
        else { return false }
        return try verifier.accepts(item, at: path)
    }
}
