import Glibc

/// What a serving process writes down about its mount, for `status` and `unmount`: one small file for each mount, held
/// under flock as long as the process lives, so that a dead one's is told from a live one's without asking it.
struct MountRecord: Equatable {
    var mountPoint: String
    var source: String
    var pid: Int32
    /// Seconds since 1970.
    var started: Int64
    /// HOST:PORT, or empty.
    var metrics: String

    /// `/run/millrace` for root, else the user's runtime directory.
    static var directory: String {
        if getuid() == 0 { return "/run/millrace" }
        if let runtime = getenv("XDG_RUNTIME_DIR") { return String(cString: runtime) + "/millrace" }
        return "/tmp/millrace-\(getuid())"
    }

    /// Writes the record; the file it answers keeps the lock, and must live as long as the mount.
    ///
    /// - Returns: nil where the directory can't be written: the mount works all the same, `status` just knows less.
    func keep() -> Keeper? {
        guard (try? Self.makeDirectory()) != nil else { return nil }
        let path = Self.path(of: mountPoint)
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o644)
        guard descriptor >= 0 else { return nil }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0, ftruncate(descriptor, 0) == 0 else {
            close(descriptor)
            return nil
        }
        var text = "\(pid)\n\(started)\n\(escaped(mountPoint))\n\(escaped(source))\n\(metrics)\n"
        _ = text.withUTF8 { write(descriptor, $0.baseAddress, $0.count) }
        return Keeper(descriptor: descriptor, path: path)
    }

    /// The record of a mount point, and whether its process lives; nil where there is none.
    static func read(_ mountPoint: String) -> (record: MountRecord, isAlive: Bool)? {
        let descriptor = open(path(of: mountPoint), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 16 << 10)
        let n = Glibc.read(descriptor, &bytes, bytes.count)
        guard n > 0, let record = MountRecord(text: String(decoding: bytes[..<n], as: UTF8.self)) else { return nil }
        let isAlive = flock(descriptor, LOCK_SH | LOCK_NB) != 0
        return (record, isAlive)
    }

    /// Where another user has put something of that name, nothing of ours goes there.
    static func makeDirectory() throws {
        var status = stat()
        guard mkdir(directory, 0o755) == 0 || errno == EEXIST, lstat(directory, &status) == 0,
            status.st_mode & S_IFMT == S_IFDIR, status.st_uid == geteuid()
        else {
            throw Failure(
                "cannot use \(directory)", because: "it is not a directory of user \(geteuid())",
                fix: "remove it, or set XDG_RUNTIME_DIR")
        }
    }

    /// Of the keeper of a mount that survives.
    static func keeperSocket(of mountPoint: String) -> String {
        path(of: mountPoint).replacing(".mount", with: ".keeper")
    }

    static func remove(_ mountPoint: String) { unlink(path(of: mountPoint)) }

    /// Holds the record's lock.
    final class Keeper: Sendable {
        private let descriptor: Int32
        private let path: String

        init(descriptor: Int32, path: String) {
            self.descriptor = descriptor
            self.path = path
        }

        /// The mount is gone.
        func remove() { unlink(path) }
        deinit { close(descriptor) }
    }

    init(mountPoint: String, source: String, pid: Int32, started: Int64, metrics: String) {
        self.mountPoint = mountPoint
        self.source = source
        self.pid = pid
        self.started = started
        self.metrics = metrics
    }

    private init?(text: String) {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        guard lines.count >= 5, let pid = Int32(lines[0]), let started = Int64(lines[1]) else { return nil }
        self.init(
            mountPoint: Self.unescaped(lines[2]), source: Self.unescaped(lines[3]), pid: pid, started: started,
            metrics: lines[4])
    }

    /// A name for the file: FNV-1a of the path, as a path has slashes and any length.
    private static func path(of mountPoint: String) -> String {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in mountPoint.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return "\(directory)/\(String(hash, radix: 16)).mount"
    }

    private func escaped(_ text: String) -> String {
        text.map { $0 == "\n" ? "\\n" : $0 == "\\" ? "\\\\" : String($0) }.joined()
    }

    private static func unescaped(_ text: String) -> String {
        var out = ""
        var isEscaped = false
        for character in text {
            if isEscaped {
                out.append(character == "n" ? "\n" : character)
                isEscaped = false
            } else if character == "\\" {
                isEscaped = true
            } else {
                out.append(character)
            }
        }
        return out
    }
}
