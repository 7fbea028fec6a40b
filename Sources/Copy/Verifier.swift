import Glibc
import S3
import SystemPackage
import Threads

/// Compares whole files with their checksums, on threads of its own: hashing is slow, and transfer threads must not wait.
final class Verifier: Sendable {
    private struct Queue {
        var work: [@Sendable () -> Void] = []
        var threads: [Thread] = []
        var isStopped = false
    }

    private static let mostThreads = 4

    private let store: any ObjectStore
    private let options: CopyOptions
    private let lock = Lock()
    private let changed: Condition
    private let queue = Locked(Queue())
    private let seen = Locked<Set<String>>([])

    init(store: any ObjectStore, options: CopyOptions) {
        self.store = store
        self.options = options
        changed = Condition(lock)
    }

    func hasWork(for item: CopyItem) -> Bool { options.verifiesStored || listed(item) != nil }

    /// Paths of the list of checksums that no item had.
    var pathsNotSeen: [String] {
        let seen = seen.withLock { $0 }
        return options.checksums.byPath.keys.filter { !$0.isEmpty && !seen.contains($0) }.sorted()
    }

    /// Compares the unfinished file; the completion is called on a thread of the verifier. Nil: all is well.
    func submit(_ item: CopyItem, _ part: PartFile, _ completion: @escaping @Sendable (CopyError?) -> Void) {
        queue.withLock { queue in
            queue.work.append { [self] in
                do throws(CopyError) {
                    try compare(item) { algorithms throws(CopyError) in try part.digests(algorithms) }
                    completion(nil)
                } catch {
                    completion(error)
                }
            }
            if queue.threads.count < Self.mostThreads {
                queue.threads.append(Thread("verify-\(queue.threads.count)") { [self] in run() })
            }
        }
        lock.withLock { changed.signal() }
    }

    /// Whether a file that is there already is what it should be; true where nothing says what that is.
    func accepts(_ item: CopyItem, at path: String) throws(CopyError) -> Bool {
        guard let wanted = listed(item) else { return true }
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        let digests: [[UInt8]]
        do throws(Errno) {
            digests = try FileDigest.compute(wanted.map(\.algorithm), of: descriptor, size: item.size)
        } catch {
            throw CopyError(path: path, errno: error)
        }
        return zip(wanted, digests).allSatisfy { $0.digest == $1 }
    }

    /// Ends its threads, once they have nothing to do.
    func stop() {
        let threads = queue.withLock { queue in
            queue.isStopped = true
            defer { queue.threads = [] }
            return queue.threads
        }
        lock.withLock { changed.broadcast() }
        for thread in threads { thread.join() }
    }

    private func run() {
        while true {
            var work: (@Sendable () -> Void)?
            var isOver = false
            lock.withLock {
                while true {
                    (work, isOver) = queue.withLock { queue in
                        (queue.work.isEmpty ? nil : queue.work.removeFirst(), queue.isStopped)
                    }
                    if work != nil || isOver { return }
                    _ = changed.wait(until: Instant.now.advanced(byMs: 1000))
                }
            }
            guard let work else { return }
            work()
        }
    }

    private func compare(
        _ item: CopyItem, _ digests: ([Checksum.Algorithm]) throws(CopyError) -> [[UInt8]]
    ) throws(CopyError) {
        var wanted = (listed(item) ?? []).map { ($0, "the given") }
        if options.verifiesStored, let stored = try storedChecksum(of: item) { wanted.append((stored, "the store's")) }
        let found = try digests(wanted.map(\.0.algorithm))
        for ((checksum, whose), digest) in zip(wanted, found) where checksum.digest != digest {
            throw CopyError(
                path: item.key.description,
                reason:
                    "wrong checksum: it has \(Checksum(checksum.algorithm, digest)), and \(whose) one is \(checksum)",
                kind: .final)
        }
    }

    private func listed(_ item: CopyItem) -> [Checksum]? {
        if options.checksums.byPath.isEmpty { return nil }
        // A single object's may be given without a name, whatever its file is called.
        let path = item.relativePath
        let name = item.key.description.split(separator: "/").last.map(String.init) ?? ""
        var found: [Checksum] = []
        for candidate in ["", path.isEmpty ? name : path] {
            guard let checksums = options.checksums.byPath[candidate] else { continue }
            _ = seen.withLock { $0.insert(candidate) }
            found += checksums
        }
        return found.isEmpty ? nil : found
    }

    private func storedChecksum(of item: CopyItem) throws(CopyError) -> Checksum? {
        let promise = Promise<Result<ObjectMetadata, S3Error>>()
        store.headWithChecksums(item.key) { promise.fulfil($0) }
        switch promise.wait(until: Instant.now.advanced(byMs: 300_000)) ?? .failure(.timedOut) {
        case .failure(let error):
            throw CopyError(path: item.key.description, reason: "its checksum can't be had: \(error)")
        case .success(let metadata):
            // Replaced after the last byte: what was copied is whole, only nothing is left to compare it with.
            return metadata.etag == item.etag ? StoredChecksum.choose(metadata) : nil
        }
    }
}

/// Which of the checksums that a store has of an object says something about all its bytes.
enum StoredChecksum {
    static func choose(_ metadata: ObjectMetadata) -> Checksum? {
        for algorithm in [Checksum.Algorithm.crc64nvme, .crc32c, .crc32, .sha256, .sha1] {
            if let text = metadata.checksums[algorithm.rawValue], let digest = Base64.bytes(text),
                digest.count == algorithm.byteCount
            {
                return Checksum(algorithm, digest)
            }
        }
        // An ETag is the MD5 of what was uploaded in one part and isn't encrypted with a key of KMS or the customer's.
        guard metadata.encryption == nil || metadata.encryption == "AES256", metadata.etag.utf8.count == 32,
            let digest = Hex.bytes(metadata.etag)
        else { return nil }
        return Checksum(.md5, digest)
    }
}

enum Base64 {
    static func bytes(_ text: String) -> [UInt8]? {
        var out: [UInt8] = []
        var bits: UInt32 = 0
        var count = 0
        for byte in text.utf8 {
            let value: UInt8
            switch byte {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = byte - UInt8(ascii: "A")
            case UInt8(ascii: "a")...UInt8(ascii: "z"): value = byte - UInt8(ascii: "a") + 26
            case UInt8(ascii: "0")...UInt8(ascii: "9"): value = byte - UInt8(ascii: "0") + 52
            case UInt8(ascii: "+"): value = 62
            case UInt8(ascii: "/"): value = 63
            case UInt8(ascii: "="): continue
            default: return nil
            }
            bits = bits << 6 | UInt32(value)
            count += 6
            if count >= 8 {
                count -= 8
                out.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
            }
        }
        return out
    }
}
