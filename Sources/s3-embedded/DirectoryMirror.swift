import Glibc
import S3
import TestSupport
import Threads

/// Keeps a bucket like a directory: a key for each regular file below it. Links aren't followed.
final class DirectoryMirror: Sendable {
    private struct Seen {
        var size: Int
        var seconds: Int
        var nanoseconds: Int
        var isThere = true
    }

    private let root: String
    private let bucket: String
    private let state = Locked<(seen: [ObjectKey: Seen], next: Instant)>(([:], .now))

    init(root: String, bucket: String) {
        self.root = root
        self.bucket = bucket
    }

    /// Looks for changes, at most once a second.
    func update(_ server: S3Server) {
        state.withLock { state in
            guard state.next <= .now else { return }
            for key in state.seen.keys { state.seen[key]!.isThere = false }
            scan(root, key: [], &state.seen, server)
            for (key, seen) in state.seen where !seen.isThere {
                server.delete(bucket, key)
                state.seen[key] = nil
            }
            state.next = Instant.now.advanced(byMs: 1000)
        }
    }

    private func scan(_ path: String, key: [UInt8], _ seen: inout [ObjectKey: Seen], _ server: S3Server) {
        guard let directory = opendir(path) else { return }
        defer { closedir(directory) }
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
            if name == [46] || name == [46, 46] { continue }
            let child = path + "/" + String(decoding: name, as: UTF8.self)
            var status = stat()
            guard lstat(child, &status) == 0 else { continue }
            switch status.st_mode & S_IFMT {
            case S_IFDIR: scan(child, key: key + name + [47], &seen, server)
            case S_IFREG: note(ObjectKey(key + name), child, status, &seen, server)
            default: break
            }
        }
    }

    private func note(
        _ key: ObjectKey, _ path: String, _ status: stat, _ seen: inout [ObjectKey: Seen], _ server: S3Server
    ) {
        let new = Seen(size: status.st_size, seconds: status.st_mtim.tv_sec, nanoseconds: status.st_mtim.tv_nsec)
        if let old = seen[key], old.size == new.size, old.seconds == new.seconds, old.nanoseconds == new.nanoseconds {
            seen[key]!.isThere = true
            return
        }
        seen[key] = new
        let etag =
            "\(String(new.size, radix: 16))-\(String(new.seconds, radix: 16))-\(String(new.nanoseconds, radix: 16))"
        server.put(
            bucket, key,
            StoredObject(.file(path: path, size: UInt64(new.size)), etag: etag, modified: Int64(new.seconds)))
    }
}
