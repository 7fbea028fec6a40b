import CLinux
import Glibc
import SystemPackage
import Threads

/// Brings the files of a mounted tree into the node's disk cache: many at a time, roughly in order. What is there already
/// costs no request. A second look at the end tells whether all of it stayed.
final class WarmJob: @unchecked Sendable {
    struct Counts: Sendable, Equatable {
        var objects = 0
        var bytes: UInt64 = 0
        /// Of those that are to be warm; they grow while the tree is walked.
        var objectsTotal = 0
        var bytesTotal: UInt64 = 0
    }

    /// Why it can't end complete.
    struct Problem: Error, Equatable, CustomStringConvertible {
        var path: String
        var errno: Errno
        var description: String {
            switch errno {
            case .notSupported: "\(path): it isn't on a mount of millrace with a disk cache"
            case .noSpace:
                "\(path): the node's cache takes no more: it is full of what can't give way, or over its quota, or its disk "
                    + "is full or broken"
            default: "\(path): \(errno)"
            }
        }
    }

    /// Bytes that one request to the mount brings, at most: as much as the mount does at once.
    private static let spanBytes: UInt64 = 16 << 20
    private static let attempts = 4
    /// How long a file may wait for what others bring of it.
    private static let patienceMs = 300_000
    private static let rounds = 3

    private let tree: FileTree
    private let parallel: Int
    private let lock = Lock()
    private let changed: Condition
    // Guarded by the lock.
    private var spans: [(path: String, from: UInt64, size: UInt64)] = []
    private var next = 0
    private var isWalked = false
    private var known = Counts()
    private var problem: Problem?
    private var isStopped = false

    init(_ tree: FileTree, parallel: Int) {
        self.tree = tree
        self.parallel = parallel
        changed = Condition(lock)
    }

    var counts: Counts { lock.withLock { known } }

    /// Ends it soon; what is there stays for a later run.
    func stop() {
        lock.withLock {
            isStopped = true
            changed.broadcast()
        }
    }

    /// Returns once every file is on disk. Throws what can't be had; then most of the rest is there all the same.
    func run() throws(Problem) {
        var missing: String?
        for round in 0..<Self.rounds {
            try bring(isFirst: round == 0)
            missing = try firstIncomplete()
            guard missing != nil else { return }
        }
        throw Problem(path: missing ?? "", errno: .noSpace)
    }

    // MARK: bringing

    private func bring(isFirst: Bool) throws(Problem) {
        lock.withLock {
            (spans, next, isWalked) = ([], 0, false)
            known = Counts()
        }
        let threads = (0..<parallel).map { n in Thread("warm-\(n)") { [self] in work() } }
        let walking = Result { () throws(FileTree.Problem) in
            try tree.forEachFile { path, size in add(path, size) }
        }
        lock.withLock {
            isWalked = true
            changed.broadcast()
        }
        for thread in threads { thread.join() }
        if case .failure(let error) = walking { throw Problem(path: error.path, errno: error.errno) }
        if let problem = lock.withLock({ problem }) { throw problem }
        if lock.withLock({ isStopped }) { throw Problem(path: tree.root, errno: .interrupted) }
    }

    /// Waits while many wait: a tree of any size is walked in little memory.
    private func add(_ path: String, _ size: UInt64) -> Bool {
        lock.withLock {
            known.objectsTotal += 1
            known.bytesTotal += size
            guard size > 0 else {
                known.objects += 1
                return !isStopped
            }
            var from: UInt64 = 0
            while from < size {
                while spans.count - next >= 4 * parallel, problem == nil, !isStopped { _ = changed.wait() }
                if problem != nil || isStopped { return false }
                spans.append((path, from, size))
                from += Self.spanBytes
                changed.broadcast()
            }
            return true
        }
    }

    private func work() {
        while let span = takeSpan() {
            do throws(Problem) {
                try bring(span.path, from: span.from, size: span.size)
            } catch {
                lock.withLock {
                    // The first counts; a full disk ends it all, as the others will fare no better.
                    problem = problem ?? error
                    changed.broadcast()
                }
                return
            }
            lock.withLock {
                known.bytes += min(Self.spanBytes, span.size - span.from)
                if span.from + Self.spanBytes >= span.size { known.objects += 1 }
            }
        }
    }

    private func takeSpan() -> (path: String, from: UInt64, size: UInt64)? {
        lock.withLock {
            while next == spans.count, !isWalked, problem == nil, !isStopped { _ = changed.wait() }
            guard next < spans.count, problem == nil, !isStopped else { return nil }
            let span = spans[next]
            next += 1
            if next >= 1024 {
                spans.removeFirst(next)
                next = 0
            }
            changed.broadcast()
            return span
        }
    }

    private func bring(_ path: String, from: UInt64, size: UInt64) throws(Problem) {
        for attempt in 1...Self.attempts {
            switch Self.ask("\(tree.root)/\(path)", "user.millrace.warm.\(from)") {
            case .success: return
            // It went away, or is another by now: the next look finds out.
            case .failure(.noSuchFileOrDirectory), .failure(.staleNFSFileHandle): return
            case .failure(let errno):
                let isFinal = [.notSupported, .noSpace, .permissionDenied, .noData].contains(errno)
                guard !isFinal, attempt < Self.attempts else {
                    throw Problem(path: path, errno: errno == .noData ? .notSupported : errno)
                }
                pause(ms: Int.random(in: 100...1000) << attempt)
            }
        }
    }

    private func pause(ms: Int) {
        lock.withLock {
            let end = Instant.now.advanced(byMs: ms)
            while !isStopped, changed.wait(until: end) {}
        }
    }

    // MARK: looking

    /// The first file that isn't wholly there: what others bring is waited for a while.
    private func firstIncomplete() throws(Problem) -> String? {
        let deadline = Instant.now.advanced(byMs: Self.patienceMs)
        var incomplete: String?
        do throws(FileTree.Problem) {
            try tree.forEachFile { path, size in
                guard size > 0 else { return true }
                var best: UInt64 = 0
                var since = Instant.now
                while true {
                    switch Self.ask("\(tree.root)/\(path)", "user.millrace.cached") {
                    case .failure(.noSuchFileOrDirectory): return true
                    case .success(let found) where found.present == found.size: return true
                    case .success(let found) where found.present > best: (best, since) = (found.present, .now)
                    default: break
                    }
                    // What another writes now comes within moments; what was evicted doesn't.
                    if Instant.now.ms(since: since) > 1000 || deadline <= .now { break }
                    pause(ms: 50)
                    if lock.withLock({ isStopped }) { break }
                }
                incomplete = path
                return false
            }
        } catch {
            throw Problem(path: error.path, errno: error.errno)
        }
        return incomplete
    }

    /// Reads one of the attributes: bytes of the file that are on disk, and all.
    static func ask(_ path: String, _ name: String) -> Result<(present: UInt64, size: UInt64), Errno> {
        var value = [UInt8](repeating: 0, count: 64)
        let count = getxattr(path, name, &value, value.count)
        guard count >= 0 else { return .failure(Errno(rawValue: errno)) }
        let numbers = String(decoding: value.prefix(count), as: UTF8.self).split(separator: " ").map { UInt64($0) }
        guard numbers.count == 2, let present = numbers[0], let size = numbers[1] else {
            return .failure(.notSupported)
        }
        return .success((present, size))
    }
}
