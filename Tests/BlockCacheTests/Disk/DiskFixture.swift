import Glibc
import Logging
import PrometheusMetrics
import S3
import TestSupport
import Threads

@testable import BlockCache

/// Bytes of a block that no other block has.
func pattern(_ key: DiskKey, _ block: Int) -> [UInt8] {
    let count = min(DiskCache.blockBytes, Int(key.size) - block * DiskCache.blockBytes)
    var numbers = Seeded(key.digest.a ^ UInt64(block))
    var words: [UInt64] = []
    while words.count * 8 < count { words.append(numbers.next()) }
    return words.withUnsafeBytes { Array($0.prefix(count)) }
}

func diskKey(_ name: String, size: Int, etag: String = "e", scope: String = "s", version: String? = nil) -> DiskKey {
    DiskKey(scope: scope, bucket: "b", key: ObjectKey(name), etag: etag, versionID: version, size: UInt64(size))
}

extension DiskKey {
    var blocks: Int { (Int(size) + DiskCache.blockBytes - 1) / DiskCache.blockBytes }
    var dataName: String { digest.name }
    var mapName: String { DiskFiles.mapName(digest) }
}

/// True as soon as the condition holds; false after a minute.
func eventually(_ condition: () -> Bool) -> Bool {
    let deadline = Instant.now.advanced(byMs: 60_000)
    while !condition() {
        if Instant.now > deadline { return false }
        usleep(500)
    }
    return true
}

extension DiskEntry {
    func write(_ key: DiskKey, _ block: Int) { pattern(key, block).withUnsafeBytes { write(block, $0) } }

    /// Writes every block and waits until all are on disk.
    func fill(_ key: DiskKey) -> Bool {
        for block in 0..<key.blocks {
            // The queue refuses what it has no room for.
            guard
                eventually({
                    write(key, block)
                    return has(block)
                })
            else { return false }
        }
        return true
    }

    enum Answer { case right, wrong, none }

    /// Reads blocks and compares them; `none`: the answer was false. (Not the bytes: a failing test would print them.)
    func answer(_ blocks: Range<Int>, of key: DiskKey) -> Answer {
        let expected = blocks.flatMap { pattern(key, $0) }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: expected.count, alignment: 16)
        defer { buffer.deallocate() }
        let done = Promise<Bool>()
        read(blocks, into: buffer) { done.fulfil($0) }
        guard let isRight = done.wait(until: .now.advanced(byMs: 60_000)) else { fatalError("no answer in a minute") }
        return !isRight ? .none : buffer.elementsEqual(expected) ? .right : .wrong
    }
}

/// Log lines, kept.
final class LogLines: LogHandler, Sendable {
    private let kept = Locked<[String]>([])
    var lines: [String] { kept.withLock { $0 } }
    var logLevel: Logger.Level {
        get { .trace }
        set {}
    }
    var metadata: Logger.Metadata {
        get { [:] }
        set {}
    }
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { nil }
        set {}
    }
    func log(event: LogEvent) { kept.withLock { $0.append(event.message.description) } }
}

/// A directory of its own for a test, removed in the end.
final class DiskFixture {
    let directory: String
    let log = LogLines()
    let registry = Registry()
    var folder: String { directory + "/millrace-cache" }

    init() {
        var template = Array("/tmp/millrace-disk-XXXXXX".utf8CString)
        precondition(mkdtemp(&template) != nil)
        directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit { _ = spawn(["/bin/rm", "-rf", directory]) }

    func open(
        maxBytes: Int = 1 << 30, reserved: UInt64 = 0, queueBytes: Int = 4 << 20, pauseMs: Int = 30_000,
        lookMs: Int = 5_000, metrics: Registry? = nil
    ) throws -> DiskCache {
        let log = log
        return try DiskCache(
            directory: directory, maxBytes: UInt64(maxBytes), reservedFreeBytes: reserved, queueBytes: queueBytes,
            pauseMs: pauseMs, lookMs: lookMs, metrics: metrics ?? registry,
            logger: Logger(label: "test") { _ in log })
    }

    func path(_ name: String) -> String { folder + "/" + name }
    func exists(_ name: String) -> Bool { access(path(name), F_OK) == 0 }

    func size(_ name: String) -> Int {
        var status = stat()
        return stat(path(name), &status) == 0 ? Int(status.st_size) : -1
    }

    /// Changes one byte of a file.
    func flip(_ name: String, at offset: Int, with mask: UInt8 = 0x01) {
        let file = Glibc.open(path(name), O_RDWR)
        precondition(file >= 0)
        defer { close(file) }
        var byte: UInt8 = 0
        precondition(pread(file, &byte, 1, off_t(offset)) == 1)
        byte ^= mask
        precondition(pwrite(file, &byte, 1, off_t(offset)) == 1)
    }
}

/// A child process; its standard output is read by `line`.
final class Child {
    let pid: pid_t
    private let output: CInt

    init(_ arguments: [String]) {
        var pipes: [CInt] = [0, 0]
        precondition(pipe(&pipes) == 0)
        for end in pipes { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawn_file_actions_adddup2(&actions, pipes[1], 1)
        defer { posix_spawn_file_actions_destroy(&actions) }
        var pid: pid_t = 0
        var argv: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        defer { for pointer in argv { free(pointer) } }
        let status = posix_spawn(&pid, arguments[0], &actions, nil, &argv, environ)
        precondition(status == 0, "cannot start \(arguments[0]): \(status)")
        close(pipes[1])
        self.pid = pid
        output = pipes[0]
    }

    deinit { close(output) }

    /// Standard output up to a line's end, or its end.
    func line() -> String {
        var bytes: [UInt8] = []
        var byte: UInt8 = 0
        while read(output, &byte, 1) == 1, byte != 0x0a { bytes.append(byte) }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Its exit status, or minus the signal that ended it.
    func wait() -> Int {
        var status: CInt = 0
        waitpid(pid, &status, 0)
        return status & 0x7f == 0 ? Int(status >> 8 & 0xff) : -Int(status & 0x7f)
    }
}

func spawn(_ arguments: [String]) -> Int { Child(arguments).wait() }
