import CLinux
import Glibc
import SystemPackage

/// Why a directory can't hold a disk cache.
public enum DiskCacheError: Error, Equatable, CustomStringConvertible {
    /// Another engine has it.
    case inUse(directory: String, pid: Int?)
    case unusable(directory: String, action: String, Errno)
    /// Somebody else's directory, or no directory, is where the cache's own would be.
    case notOurs(path: String)

    public var description: String {
        switch self {
        case .inUse(let directory, let pid):
            "cache directory \(directory) is in use by another engine\(pid.map { " (process \($0))" } ?? ""); "
                + "give each engine a cache directory of its own, or stop the other one"
        case .unusable(let directory, let action, let errno):
            "cache directory \(directory): cannot \(action): \(errno); "
                + "give a directory on a local disk that this user may write to"
        case .notOurs(let path):
            "\(path) is not a directory of this user, so nothing is cached in it; remove it or use another directory"
        }
    }
}

/// A span of time in which files that were verified once, and not touched since, need no second look: from a clean start
/// on, over clean restarts, until the cache or the machine stops uncleanly. Random; zero means none.
struct Epoch: Equatable, Sendable {
    var high: UInt64 = 0, low: UInt64 = 0
    var isNone: Bool { self == Epoch() }
    static func random() -> Epoch { Epoch(high: .random(in: 1 ... .max), low: .random(in: 0 ... .max)) }
}

/// The cache's own folder in the directory that it was given: locked, mode 0700, other people's files left alone.
final class DiskDirectory: Sendable {
    private static let folder = "millrace-cache"
    private static let lockName = "lock"
    private static let firstLine = "millrace disk cache 1"

    let descriptor: CInt
    private let lock: CInt
    let epoch: Epoch
    private let boot: String

    init(_ directory: String) throws(DiskCacheError) {
        func failure(_ action: String) -> DiskCacheError {
            .unusable(directory: directory, action: action, Errno(rawValue: errno))
        }
        guard Self.make(directory) else { throw failure("make it") }
        let path = directory + "/" + Self.folder
        guard mkdir(path, 0o700) == 0 || errno == EEXIST else { throw failure("make \(path)") }
        let descriptor = Glibc.open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw errno == ENOTDIR || errno == ELOOP ? .notOurs(path: path) : failure("open \(path)")
        }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_uid == geteuid() else {
            Glibc.close(descriptor)
            throw .notOurs(path: path)
        }
        // Objects are as secret as the bucket.
        if status.st_mode & 0o777 != 0o700 { fchmod(descriptor, 0o700) }

        let lock = openat(descriptor, Self.lockName, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard lock >= 0 else {
            let error = failure("open \(path)/\(Self.lockName)")
            Glibc.close(descriptor)
            throw error
        }
        let found = Self.read(lock)
        guard flock(lock, LOCK_EX | LOCK_NB) == 0 else {
            let error: DiskCacheError =
                errno == EWOULDBLOCK
                ? .inUse(directory: directory, pid: found["pid"].flatMap { Int($0) }) : failure("lock it")
            Glibc.close(lock)
            Glibc.close(descriptor)
            throw error
        }
        self.descriptor = descriptor
        self.lock = lock
        boot = Self.bootID()

        // The page cache holds what a killed process wrote, but a machine that lost power may hold anything.
        let state = Self.read(lock)
        let isClean = state["state"] == "stopped" && state["boot"].map(String.init) == boot && !boot.isEmpty
        epoch = isClean ? Self.epoch(state["epoch"]) ?? .random() : .random()
        guard record("running") else {
            let error = failure("write \(path)/\(Self.lockName)")
            Glibc.close(lock)
            Glibc.close(descriptor)
            throw error
        }
    }

    /// Notes a clean stop and gives the directory back.
    func close() {
        _ = record("stopped")
        // Closing is not enough: a child between fork and exec has a copy of the descriptor.
        flock(lock, LOCK_UN)
        Glibc.close(lock)
        Glibc.close(descriptor)
    }

    /// Opens a file of the cache; -1 and errno where that fails.
    func open(_ name: String, _ flags: CInt) -> CInt {
        openat(descriptor, name, flags | O_CLOEXEC | O_NOFOLLOW, 0o600)
    }

    func remove(_ name: String) { unlinkat(descriptor, name, 0) }

    func rename(_ old: String, _ new: String) -> Bool { renameat(descriptor, old, descriptor, new) == 0 }

    /// Bytes that the file system has left for this user; nil where it doesn't say.
    func freeBytes() -> UInt64? {
        var status = statvfs()
        guard fstatvfs(descriptor, &status) == 0 else { return nil }
        return UInt64(status.f_bavail) * UInt64(status.f_frsize)
    }

    /// Size of the file system, in bytes.
    func totalBytes() -> UInt64? {
        var status = statvfs()
        guard fstatvfs(descriptor, &status) == 0 else { return nil }
        return UInt64(status.f_blocks) * UInt64(status.f_frsize)
    }

    /// Calls `body` with each name in a dataset's folder; "": the cache's own.
    func forEachName(in folder: String = "", _ body: (UnsafeBufferPointer<UInt8>) -> Void) {
        let copy = openat(
            descriptor, folder.isEmpty ? "." : folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        guard copy >= 0, let stream = fdopendir(copy) else { return }
        defer { closedir(stream) }
        while let entry = readdir(stream) {
            withUnsafeBytes(of: &entry.pointee.d_name) { name in
                let end = name.firstIndex(of: 0) ?? name.endIndex
                name[..<end].withMemoryRebound(to: UInt8.self) { body($0) }
            }
        }
    }

    // MARK: datasets' folders

    /// Makes a dataset's folder and says in it whose it is; its time becomes that of the last use.
    func describe(_ policy: CachePolicy, in folder: String) {
        guard !folder.isEmpty, mkdirat(descriptor, folder, 0o700) == 0 || errno == EEXIST else { return }
        let text = DatasetFile.text(policy)
        let name = folder + "/" + DatasetFile.name
        if contents(of: name) == text {
            utimensat(descriptor, name, nil, AT_SYMLINK_NOFOLLOW)
            return
        }
        // Written beside and renamed: half a description would lose a pin.
        let draft = name + ".new"
        let file = open(draft, O_WRONLY | O_CREAT | O_TRUNC)
        guard file >= 0 else { return }
        let bytes = Array(text.utf8)
        let isWritten = write(file, bytes, bytes.count) == bytes.count
        Glibc.close(file)
        if !isWritten || renameat(descriptor, draft, descriptor, name) != 0 { remove(draft) }
    }

    /// Whose folder it is and when it was used last, in seconds since 1970; nil where it isn't a dataset's.
    func description(of folder: String) -> (policy: CachePolicy, lastUse: Int)? {
        let name = folder + "/" + DatasetFile.name
        var status = stat()
        guard let policy = contents(of: name).flatMap(DatasetFile.policy),
            DiskDatasets.folder(of: policy.dataset) == folder,
            fstatat(descriptor, name, &status, AT_SYMLINK_NOFOLLOW) == 0
        else { return nil }
        return (policy, status.st_mtim.tv_sec)
    }

    private func contents(of name: String) -> String? {
        let file = open(name, O_RDONLY)
        guard file >= 0 else { return nil }
        defer { Glibc.close(file) }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = Glibc.read(file, &bytes, bytes.count)
        return count > 0 ? String(decoding: bytes.prefix(count), as: UTF8.self) : nil
    }

    // MARK: the lock file: lines of "name value" that a person can read too

    private func record(_ state: String) -> Bool {
        let text =
            "\(Self.firstLine)\npid \(getpid())\nboot \(boot)\n"
            + "epoch \(epoch.high) \(epoch.low)\nstate \(state)\n"
        let bytes = Array(text.utf8)
        return pwrite(lock, bytes, bytes.count, 0) == bytes.count && ftruncate(lock, off_t(bytes.count)) == 0
    }

    private static func read(_ lock: CInt) -> [Substring: Substring] {
        var bytes = [UInt8](repeating: 0, count: 512)
        let count = pread(lock, &bytes, bytes.count, 0)
        let lines = String(decoding: bytes.prefix(max(0, count)), as: UTF8.self).split(separator: "\n")
        guard lines.first.map(String.init) == firstLine else { return [:] }
        return lines.dropFirst().reduce(into: [:]) { fields, line in
            let parts = line.split(separator: " ", maxSplits: 1)
            if parts.count == 2 { fields[parts[0]] = parts[1] }
        }
    }

    private static func epoch(_ text: Substring?) -> Epoch? {
        let parts = (text ?? "").split(separator: " ").compactMap { UInt64($0) }
        guard parts.count == 2 else { return nil }
        let epoch = Epoch(high: parts[0], low: parts[1])
        return epoch.isNone ? nil : epoch
    }

    private static func bootID() -> String {
        let file = Glibc.open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return "" }
        defer { Glibc.close(file) }
        var bytes = [UInt8](repeating: 0, count: 64)
        let count = Glibc.read(file, &bytes, bytes.count)
        return String(decoding: bytes.prefix(max(0, count)).filter { $0 > 0x20 }, as: UTF8.self)
    }

    /// mkdir -p, new directories with mode 0700.
    private static func make(_ path: String) -> Bool {
        if mkdir(path, 0o700) == 0 || errno == EEXIST { return true }
        guard errno == ENOENT, let slash = path.lastIndex(of: "/"), slash > path.startIndex else { return false }
        return make(String(path[..<slash])) && (mkdir(path, 0o700) == 0 || errno == EEXIST)
    }
}
