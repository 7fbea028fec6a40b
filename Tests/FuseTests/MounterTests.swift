import Glibc
import Logging
import SystemPackage
import Testing
import Threads

@testable import Fuse

@Suite("Mounting", .serialized, .enabled(if: isMountingPossible(), "needs root and /dev/fuse"))
struct MounterTests {
    @Test("a mount point that is missing or a file is refused by name")
    func badMountPoint() throws {
        for (path, words) in [("/tmp/no/such/place", "does not exist"), ("/etc/passwd", "is not a directory")] {
            let error = #expect(throws: MountError.self) { _ = try Mounter.mount(.init(source: "x"), at: path) }
            #expect(error?.reason == .badMountPoint)
            #expect(error?.description.contains(path) == true && error?.description.contains(words) == true)
        }
    }

    @Test("fusermount3 mounts and unmounts, with commas in the source")
    func fusermount() throws {
        let path = try temporaryDirectory()
        defer { rmdir(path) }
        let descriptor = try Fusermount.mount(.init(source: "s3://b/a,b\\c", allowOther: false), at: path)
        let server = try Server()
        let session = try Session.start(descriptor, MemoryFileSystem(), logger: Logger(label: "test"))
        try server.add(session)
        let entry = try #require(MountTable.entry(at: path))
        #expect(entry.source == "s3://b/a,b\\c" && entry.type == Mounter.type && entry.options.contains("ro"))
        try withOpen(path + "/hello") { fd in
            let error = #expect(throws: MountError.self) {
                try Fusermount.unmount(path, lazily: false, deadline: .now.advanced(byMs: 10_000))
            }
            #expect(error?.reason == .busy)
        }
        try Fusermount.unmount(path, lazily: false, deadline: .now.advanced(byMs: 10_000))
        #expect(MountTable.entry(at: path) == nil)
        server.stop()
    }

    @Test("a mount that nobody serves is probed within the deadline, and detached")
    func hungMount() throws {
        let path = try temporaryDirectory()
        defer { rmdir(path) }
        let descriptor = try Mounter.mount(.init(source: "hung"), at: path)
        #expect(Mounter.probe(path, deadline: .now.advanced(byMs: 200)) == .timedOut)
        try Mounter.unmount(path, lazily: true)
        try descriptor.close()
        #expect(MountTable.entry(at: path) == nil)
    }

    @Test("a mount whose server died is told from a living one")
    func deadMount() throws {
        let path = try temporaryDirectory()
        defer { rmdir(path) }
        try Mounter.mount(.init(source: "dead"), at: path).close()
        #expect(Mounter.probe(path)?.rawValue == ENOTCONN)
        let error = #expect(throws: MountError.self) { _ = try Mounter.mount(.init(source: "x"), at: path) }
        #expect(error?.description.contains("dead mount") == true)
        try Mounter.unmount(path, lazily: true)
        #expect(Mounter.probe(path) == nil)
    }

    @Test("read-ahead is set")
    func readAhead() throws {
        try MountFixture.with { mount in
            #expect(Mounter.setReadAhead(kib: 4096, of: mount.entry))
            let bytes = try #require(
                readWholeFile("/sys/class/bdi/\(mount.entry.major):\(mount.entry.minor)/read_ahead_kb"))
            #expect(bytes == Array("4096\n".utf8))
        }
    }
}
