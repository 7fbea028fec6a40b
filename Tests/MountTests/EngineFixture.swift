import Fuse
import Glibc
import Logging
import Namespace
import PrometheusMetrics
import S3
import SystemPackage
import TestSupport
import Testing
import Threads

@testable import Mount

/// An engine over a bucket in memory, and what it has mounted, gone at the end.
final class EngineFixture {
    let store = MemoryStore(.threads(2))
    let registry = Registry()
    let lines = LogLines()
    let engine: Engine
    let directory: String
    private var mounts: [String] = []

    init(_ options: EngineOptions = EngineOptions(memoryBytes: 32 << 20)) throws {
        directory = try temporaryDirectory()
        let lines = lines
        engine = try Engine(options, metrics: registry, logger: Logger(label: "test") { _ in lines })
    }

    /// Asks the bucket each time, unless told otherwise.
    static let fresh = SessionDescription(
        bucket: "bucket", policy: MetadataPolicy(ttlMs: 0, negativeTTLMs: 0), uid: 7, gid: 8, scope: "test")
    static let lasting = SessionDescription(bucket: "bucket", policy: .immutable, scope: "test")

    func mount(_ description: SessionDescription = fresh, at name: String = "m") throws -> (MountedSession, String) {
        let path = makeMountPoint(name)
        return (try engine.mount(description, store: store, at: path), path)
    }

    func makeMountPoint(_ name: String) -> String {
        let path = directory + "/" + name
        mkdir(path, 0o755)
        if !mounts.contains(path) { mounts.append(path) }
        return path
    }

    func close() {
        for path in mounts {
            while let entry = MountTable.entry(at: path), entry.isMillrace {
                Mounter.abort(entry)
                try? Mounter.unmount(path, lazily: true)
            }
            rmdir(path)
            #expect(MountTable.entry(at: path) == nil)
        }
        engine.stop()
        store.stop()
        rmdir(directory)
    }

    static func with(
        _ options: EngineOptions = EngineOptions(memoryBytes: 32 << 20), _ body: (EngineFixture) throws -> Void
    ) throws {
        let fixture = try EngineFixture(options)
        defer { fixture.close() }
        try body(fixture)
    }
}

/// A log to look at.
final class LogLines: LogHandler, Sendable {
    let lines = Locked<[String]>([])
    var metadata: Logger.Metadata {
        get { [:] }
        set { _ = newValue }
    }
    var logLevel: Logger.Level {
        get { .debug }
        set { _ = newValue }
    }
    subscript(metadataKey _: String) -> Logger.Metadata.Value? {
        get { nil }
        set { _ = newValue }
    }
    func log(event: LogEvent) {
        let fields = (event.metadata ?? [:]).sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        lines.withLock { $0.append(([event.message.description] + fields).joined(separator: " ")) }
    }
    func has(_ parts: String...) -> Bool {
        lines.withLock { lines in lines.contains { line in parts.allSatisfy { line.contains($0) } } }
    }
}

func temporaryDirectory() throws -> String {
    var template = Array("/tmp/mount-test-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw Errno(rawValue: errno) }
    return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

func isMountingPossible() -> Bool { geteuid() == 0 && access("/dev/fuse", R_OK | W_OK) == 0 }

/// A descriptor that closes itself.
func withOpen<T>(_ path: String, _ body: (Int32) throws -> T) throws -> T {
    let fd = open(path, O_RDONLY)
    guard fd >= 0 else { throw Errno(rawValue: errno) }
    defer { close(fd) }
    return try body(fd)
}

func readAll(_ fd: Int32) throws -> [UInt8] {
    var out: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 18)
    while true {
        let n = read(fd, &buffer, buffer.count)
        guard n >= 0 else { throw Errno(rawValue: errno) }
        if n == 0 { return out }
        out += buffer[0..<n]
    }
}

func contents(_ path: String) throws -> [UInt8] { try withOpen(path) { try readAll($0) } }

func names(in path: String) throws -> [String] {
    guard let stream = opendir(path) else { throw Errno(rawValue: errno) }
    defer { closedir(stream) }
    var out: [String] = []
    while let name = nextName(stream) { if name != "." && name != ".." { out.append(name) } }
    return out.sorted()
}

func nextName(_ stream: OpaquePointer) -> String? {
    guard let entry = readdir(stream) else { return nil }
    return withUnsafePointer(to: &entry.pointee.d_name) {
        String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
    }
}

/// Waits until something holds.
func eventually(_ deadline: Instant = .now.advanced(byMs: 30_000), _ condition: () -> Bool) -> Bool {
    while !condition() {
        if deadline <= .now { return false }
        usleep(2000)
    }
    return true
}

/// Runs a blocking call on a thread of its own.
func onThread<T: Sendable>(_ body: @escaping @Sendable () -> T) -> Promise<T> {
    let promise = Promise<T>()
    _ = Thread("reader") { promise.fulfil(body()) }
    return promise
}

extension Promise {
    func value() -> Value? { wait(until: .now.advanced(byMs: 30_000)) }
}
