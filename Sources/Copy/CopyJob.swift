import Glibc
import S3
import Synchronization
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
        public var bytes: UInt64 = 0
        public var failures: [CopyError] = []
        public init() {}
    }

    private struct State {
        var counts = Counts()
        /// Files whose parts are not all given out yet, first in line first.
        var inFlight = 0
        var stopped = false
    }

    private let store: any ObjectStore
    private let destination: String
    private let concurrency: Int
    private let overwrite: Bool
    private let state = Locked(State())
    private let lock = Lock()
    private let slotFreed: Condition

    /// - Parameters:
    ///   - destination: the directory that the items' relative paths start from, or the file where a path is empty.
    ///   - concurrency: GETs in flight.
    ///   - overwrite: copy again what is there already.
    public init(store: any ObjectStore, destination: String, concurrency: Int = 32, overwrite: Bool = false) {
        self.store = store
        self.destination = destination
        self.concurrency = concurrency
        self.overwrite = overwrite
        slotFreed = Condition(lock)
    }

    public var counts: Counts { state.withLock { $0.counts } }

    /// Ends the run early: nothing new is started; what was whole stays for a later run.
    public func stop() { state.withLock { $0.stopped = true } }

    /// Copies one item: starts its GETs, waiting for free slots, and returns when the last one has been started.
    public func add(_ item: CopyItem) {
        if state.withLock({ $0.stopped }) { return }
        let path = item.relativePath.isEmpty ? destination : "\(destination)/\(item.relativePath)"
        do {
            if !overwrite, Self.isCurrent(item, at: path) {
                state.withLock { $0.counts.skipped += 1 }
                return
            }
            try Self.makeDirectories(for: path)
            var whole: [Bool] = []
            let file = try PartFile(item, at: path, whole: &whole)
            let missing = whole.indices.filter { !whole[$0] }
            guard !missing.isEmpty else {
                try file.finish()
                state.withLock { $0.counts.files += 1 }
                return
            }
            let progress = FileProgress(file: file, item: item, missing: missing.count)
            for part in missing { start(part, of: progress) }
        } catch {
            fail(error)
        }
    }

    /// Counts a key that can't become a file.
    public func refuse(_ key: ObjectKey, _ why: String) { fail(CopyError(path: key.description, reason: why)) }

    /// Waits until every started GET has ended.
    public func finish() -> Counts {
        lock.withLock {
            while state.withLock({ $0.inFlight }) > 0 { _ = slotFreed.wait(until: Instant.now.advanced(byMs: 1000)) }
        }
        return counts
    }

    private func start(_ part: Int, of progress: FileProgress) {
        lock.withLock {
            while state.withLock({ $0.inFlight >= concurrency && !$0.stopped }) {
                _ = slotFreed.wait(until: Instant.now.advanced(byMs: 1000))
            }
        }
        if state.withLock({ $0.stopped }) { return }
        state.withLock { $0.inFlight += 1 }
        let item = progress.item
        let first = UInt64(part) * PartFile.partBytes
        let range = first..<min(first + PartFile.partBytes, item.size)
        let receiver = PartReceiver(job: self, progress: progress, part: part)
        store.get(
            GetRequest(key: item.key, range: range, etag: item.etag, size: item.size, priority: .readAhead), receiver)
    }

    fileprivate func received(_ count: Int) { state.withLock { $0.counts.bytes += UInt64(count) } }

    fileprivate func ended(_ part: Int, of progress: FileProgress, _ failure: CopyError?) {
        var failure = failure
        do throws(CopyError) {
            if failure == nil { try progress.file.completed(part: part) }
        } catch {
            failure = error
        }
        if let failure, progress.firstFailure() { fail(failure) }
        if progress.wasLast() { finish(progress) }
        state.withLock { $0.inFlight -= 1 }
        lock.withLock { slotFreed.broadcast() }
    }

    private func finish(_ progress: FileProgress) {
        defer { progress.file.end() }
        guard !progress.hasFailed else { return }
        do throws(CopyError) {
            try progress.file.finish()
            state.withLock { $0.counts.files += 1 }
        } catch {
            fail(error)
        }
    }

    private func fail(_ error: any Error) {
        let error = error as? CopyError ?? CopyError(path: destination, reason: "\(error)")
        state.withLock { state in
            state.counts.failures.append(error)
            if error.isFatal { state.stopped = true }
        }
    }

    private static func isCurrent(_ item: CopyItem, at path: String) -> Bool {
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return false }
        return UInt64(status.st_size) == item.size && Int64(status.st_mtim.tv_sec) == item.modified
    }

    static func makeDirectories(for path: String) throws(CopyError) {
        var i = path.startIndex
        while let slash = path[i...].firstIndex(of: "/") {
            let directory = String(path[..<slash])
            i = path.index(after: slash)
            if directory.isEmpty { continue }
            if mkdir(directory, 0o777) != 0 && errno != EEXIST {
                throw CopyError(path: directory, errno: Errno(rawValue: errno))
            }
        }
    }
}

/// One file's parts under way.
private final class FileProgress: Sendable {
    let file: PartFile
    let item: CopyItem
    /// Parts that have not ended, well or badly.
    private let missing: Atomic<Int>
    private let failed = Atomic(false)

    init(file: PartFile, item: CopyItem, missing: Int) {
        self.file = file
        self.item = item
        self.missing = Atomic(missing)
    }

    func wasLast() -> Bool { missing.subtract(1, ordering: .acquiringAndReleasing).newValue == 0 }
    var hasFailed: Bool { failed.load(ordering: .relaxed) }
    func firstFailure() -> Bool { !failed.exchange(true, ordering: .relaxed) }
}

/// Writes a part's bytes as they come, on the transfer thread: the page cache takes them at memory speed.
private final class PartReceiver: GetReceiver, @unchecked Sendable {
    private let job: CopyJob
    private let progress: FileProgress
    private let part: Int
    /// Touched by one transfer thread at a time.
    private var failure: CopyError?

    init(job: CopyJob, progress: FileProgress, part: Int) {
        self.job = job
        self.progress = progress
        self.part = part
    }

    func received(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) {
        guard failure == nil else { return }
        do throws(CopyError) {
            try progress.file.write(bytes, at: offset)
            job.received(bytes.count)
        } catch {
            failure = error
        }
    }

    func finished(_ result: Result<ObjectMetadata, S3Error>) {
        if failure == nil, case .failure(let error) = result {
            if error == .changed { progress.file.discard() }
            failure = CopyError(path: progress.item.key.description, reason: "\(error)")
        }
        job.ended(part, of: progress, failure)
    }
}
