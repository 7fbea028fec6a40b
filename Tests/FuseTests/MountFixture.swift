import Fuse
import Glibc
import Logging
import SystemPackage
import Testing
import Threads

/// A mount of a `MemoryFileSystem` in a directory of its own, gone at the end.
final class MountFixture {
    let path: String
    let server: Server
    let files: MemoryFileSystem
    let session: Session
    let entry: MountEntry

    init(crowdSize: Int = 1000, workers: Int? = nil, requests: RequestTable? = nil) throws {
        path = try temporaryDirectory()
        files = MemoryFileSystem(crowdSize: crowdSize)
        server = try Server(workers: workers)
        let descriptor = try Mounter.mount(.init(source: "memory"), at: path)
        session = try Session.start(descriptor, files, requests: requests, logger: Logger(label: "test"))
        try server.add(session)
        entry = try #require(MountTable.entry(at: path))
    }

    /// A second owner of the connection, as a keeper has.
    func copyOfDescriptor() -> FileDescriptor {
        FileDescriptor(rawValue: fcntl(session.descriptor.rawValue, F_DUPFD_CLOEXEC, 0))
    }

    func close() {
        if MountTable.entry(at: path) != nil { #expect(Mounter.abort(entry)) }
        do {
            try Mounter.unmount(path, lazily: true)
        } catch {
            #expect(error.reason == .notMounted)
        }
        server.stop()
        rmdir(path)
        #expect(MountTable.entry(at: path) == nil)
    }

    static func with(
        crowdSize: Int = 1000, workers: Int? = nil, requests: RequestTable? = nil, _ body: (MountFixture) throws -> Void
    ) throws {
        let fixture = try MountFixture(crowdSize: crowdSize, workers: workers, requests: requests)
        defer { fixture.close() }
        try body(fixture)
    }
}

func temporaryDirectory() throws -> String {
    var template = Array("/tmp/fuse-test-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw Errno(rawValue: errno) }
    return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// Past the page cache; the module leaves it out. The value is x86's and most others'; arm64 differs.
#if arch(arm64)
    let directIO: Int32 = 0o200000
#else
    let directIO: Int32 = 0o40000
#endif

func isMountingPossible() -> Bool { geteuid() == 0 && access("/dev/fuse", R_OK | W_OK) == 0 }

/// A descriptor that closes itself.
func withOpen<T>(_ path: String, _ flags: Int32 = O_RDONLY, _ body: (Int32) throws -> T) throws -> T {
    let fd = open(path, flags)
    guard fd >= 0 else { throw Errno(rawValue: errno) }
    defer { close(fd) }
    return try body(fd)
}

func readAll(_ fd: Int32, chunk: Int = 1 << 20) throws -> [UInt8] {
    var out: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: chunk)
    while true {
        let n = read(fd, &buffer, chunk)
        guard n >= 0 else { throw Errno(rawValue: errno) }
        if n == 0 { return out }
        out += buffer[0..<n]
    }
}

/// Waits until something holds.
func eventually(_ deadline: Instant = .now.advanced(byMs: 20_000), _ condition: () -> Bool) -> Bool {
    while !condition() {
        if deadline <= .now { return false }
        usleep(2000)
    }
    return true
}

/// Lets this thread take signals: those of the tests' pool, from which it was started, take none.
func unblockSignals() {
    var none = sigset_t()
    sigemptyset(&none)
    pthread_sigmask(SIG_SETMASK, &none, nil)
}

/// Runs a blocking call on a thread of its own.
func onThread<T: Sendable>(_ body: @escaping @Sendable () -> T) -> Promise<T> {
    let promise = Promise<T>()
    let thread = Thread("reader") { promise.fulfil(body()) }
    _ = thread
    return promise
}

extension Promise {
    func value() -> Value? { wait(until: .now.advanced(byMs: 20_000)) }
}
