import Fuse
import Glibc
import Logging
import PrometheusMetrics
import S3
import SystemPackage
import TestSupport
import Testing
import Threads

@testable import Mount

@Suite("An engine's mounts", .serialized, .enabled(if: isMountingPossible(), "needs root and /dev/fuse"))
struct EngineTests {
    @Test("a bucket is seen as files and directories, with owner and modes as asked")
    func tree() throws {
        try EngineFixture.with { fixture in
            fixture.store.put("top", "hello")
            fixture.store.put("a/b/deep", .generated(size: 3 << 20 | 5, seed: 9))
            fixture.store.put("empty", "")
            var description = EngineFixture.fresh
            description.fileMode = 0o440
            description.directoryMode = 0o750
            let (session, path) = try fixture.mount(description)
            #expect(try names(in: path) == ["a", "empty", "top"])
            #expect(try names(in: path + "/a/b") == ["deep"])
            var status = stat()
            #expect(stat(path + "/a/b/deep", &status) == 0)
            #expect(status.st_size == 3 << 20 | 5 && status.st_mode == S_IFREG | 0o440)
            #expect(status.st_uid == 7 && status.st_gid == 8)
            #expect(stat(path + "/a", &status) == 0 && status.st_mode == S_IFDIR | 0o750)
            #expect(stat(path + "/nothing", &status) == -1 && errno == ENOENT)
            let bytes = try contents(path + "/a/b/deep")
            let same = bytes == ObjectBody.generated(size: 3 << 20 | 5, seed: 9).bytes(in: 0..<(4 << 20))
            #expect(same)
            #expect(try contents(path + "/empty").isEmpty)
            let entry = try #require(MountTable.entry(at: path))
            #expect(entry.source == "s3://bucket" && entry.isMillrace && entry.options.hasPrefix("ro,"))
            #expect(session.status.inodes > 0 && session.status.source == "s3://bucket")
            let metrics = fixture.registry.render()
            #expect(metrics.contains("millrace_operation_seconds_count{operation=\"read\"}"))
            #expect(metrics.contains("\nmillrace_sessions 1\n"))
        }
    }

    @Test("a file that is replaced while it is open never mixes its versions: old bytes or ESTALE, then the new ones")
    func replaced() throws {
        try EngineFixture.with { fixture in
            let old = ObjectBody.generated(size: 4 << 20, seed: 1)
            // Smaller, larger and of the same size.
            for (round, size) in [1 << 20, 6 << 20, 4 << 20].enumerated() {
                let new = ObjectBody.generated(size: UInt64(size), seed: UInt64(10 + round))
                fixture.store.put("file", old)
                let (session, path) = try fixture.mount(at: "m\(round)")
                try withOpen(path + "/file") { fd in
                    var head = [UInt8](repeating: 0, count: 4096)
                    #expect(read(fd, &head, 4096) == 4096)
                    fixture.store.put("file", new)
                    let bytes = try contents(path + "/file")
                    let isNew = bytes == new.bytes(in: 0..<UInt64(size))
                    #expect(isNew, "round \(round)")
                    var status = stat()
                    #expect(stat(path + "/file", &status) == 0 && status.st_size == size)
                    #expect(fstat(fd, &status) == 0 && status.st_size == 4 << 20, "an open file stays what it was")
                    var place = UInt64(4096)
                    while place < 4 << 20 {
                        var chunk = [UInt8](repeating: 0, count: 100_000)
                        let n = pread(fd, &chunk, chunk.count, off_t(place))
                        if n < 0 {
                            #expect(errno == ESTALE)
                            break
                        }
                        #expect(n > 0, "an early end of file at \(place)")
                        let isOld = chunk.prefix(max(n, 0)).elementsEqual(
                            old.bytes(in: place..<(place + UInt64(max(n, 0)))))
                        #expect(isOld, "at \(place)")
                        if n <= 0 { break }
                        place += UInt64(n)
                    }
                }
                try fixture.engine.unmount(session)
            }
        }
    }

    @Test("a deleted file's name is gone; who has it open reads old bytes or gets ESTALE")
    func deleted() throws {
        try EngineFixture.with { fixture in
            fixture.store.put("file", .generated(size: 20 << 20, seed: 1))
            let (_, path) = try fixture.mount()
            try withOpen(path + "/file") { fd in
                var byte: UInt8 = 0
                #expect(pread(fd, &byte, 1, 0) == 1)
                fixture.store.delete("file")
                #expect(open(path + "/file", O_RDONLY) == -1 && errno == ENOENT)
                #expect(pread(fd, &byte, 1, 19 << 20) == 1 || errno == ESTALE)
            }
        }
    }

    @Test("a mount that is in use is not unmounted, and the error says who uses it; it can be detached")
    func busy() throws {
        try EngineFixture.with { fixture in
            fixture.store.put("file", "hello")
            let (session, path) = try fixture.mount()
            try withOpen(path + "/file") { fd in
                let error = #expect(throws: MountError.self) {
                    try fixture.engine.unmount(session, deadline: .now.advanced(byMs: 300))
                }
                #expect(error?.reason == .busy)
                #expect(error?.description.contains("process \(getpid()), an open file") == true, "\(error as Any)")
                #expect(fixture.engine.sessions.count == 1)
                try fixture.engine.unmount(session, lazily: true, deadline: .now)
                #expect(MountTable.entry(at: path) == nil)
                #expect(try readAll(fd) == Array("hello".utf8))
            }
            #expect(session.ended.value() == .unmounted)
            fixture.engine.finish(session)
            #expect(fixture.engine.sessions.isEmpty)
        }
    }

    @Test("an unmount under load ends every read with the right bytes or an error, and leaves nothing")
    func unmountUnderLoad() throws {
        try EngineFixture.with { fixture in
            for n in 0..<8 { fixture.store.put("f\(n)", .generated(size: 4 << 20, seed: UInt64(n))) }
            fixture.store.latencyMs = 3
            for _ in 0..<5 {
                let (session, path) = try fixture.mount()
                let counted = Locked(0)
                let readers = (0..<8).map { n in
                    onThread { () -> Bool in
                        let expected = ObjectBody.generated(size: 4 << 20, seed: UInt64(n)).bytes(in: 0..<(4 << 20))
                        while true {
                            guard let bytes = try? contents(path + "/f\(n)") else { return true }
                            if bytes != expected { return false }
                            counted.withLock { $0 += 1 }
                        }
                    }
                }
                #expect(eventually { counted.withLock { $0 } > 8 })
                let entry = try #require(MountTable.entry(at: path))
                Mounter.abort(entry)
                try? Mounter.unmount(path, lazily: true)
                for reader in readers { #expect(reader.value() == true) }
                #expect(session.ended.value() != nil)
                fixture.engine.finish(session)
                #expect(eventually { session.status.requestsInFlight == 0 && session.operations.files.all.isEmpty })
            }
            #expect(fixture.registry.render().contains("\nmillrace_open_handles 0\n"))
        }
    }

    @Test("a dead mount, as a crash leaves it, is detached by the next mount; a living one is not")
    func leftovers() throws {
        try EngineFixture.with { fixture in
            fixture.store.put("file", "hello")
            let path = fixture.makeMountPoint("m")
            try Mounter.mount(.init(source: "s3://old"), at: path).close()
            let (_, mounted) = try fixture.mount()
            #expect(mounted == path)
            #expect(try contents(path + "/file") == Array("hello".utf8))
            #expect(MountTable.current().filter { $0.mountPoint == path }.count == 1)
            #expect(fixture.lines.has("Detached a dead mount", "s3://old"))
            let error = #expect(throws: MountError.self) { try fixture.mount() }
            #expect(error?.reason == .busy && error?.description.contains("already") == true)
        }
    }

    @Test("an engine that is let go of without stop() stops by itself")
    func freed() throws {
        let store = MemoryStore(.threads(1))
        defer { store.stop() }
        store.put("file", "hello")
        for isUsed in [false, true, true] {
            let path = try temporaryDirectory()
            defer { rmdir(path) }
            let fd: Int32
            do {
                let engine = try Engine(
                    EngineOptions(memoryBytes: 16 << 20), metrics: Registry(), logger: Logger(label: "test"))
                guard isUsed else { continue }
                _ = try engine.mount(EngineFixture.fresh, store: store, at: path)
                fd = open(path + "/file", O_RDONLY)
                #expect(fd >= 0)
            }
            // Nobody has the connection any more.
            #expect(eventually { Mounter.probe(path)?.rawValue == ENOTCONN })
            close(fd)
            try Mounter.unmount(path, lazily: true)
        }
    }

    @Test("many mounts share one engine, each with its own prefix")
    func manySessions() throws {
        try EngineFixture.with { fixture in
            for n in 0..<20 { fixture.store.put("p\(n)/name", "content \(n)") }
            var sessions: [(MountedSession, String)] = []
            for n in 0..<20 {
                var description = EngineFixture.fresh
                description.prefix = ObjectKey("p\(n)/")
                sessions.append(try fixture.mount(description, at: "m\(n)"))
            }
            for (n, (session, path)) in sessions.enumerated() {
                #expect(try contents(path + "/name") == Array("content \(n)".utf8))
                #expect(session.status.source == "s3://bucket/p\(n)/")
            }
            for (session, _) in sessions { try fixture.engine.unmount(session) }
            #expect(fixture.engine.sessions.isEmpty)
        }
    }

    @Test("a file that is completely on disk is read by the kernel alone")
    func passthrough() throws {
        let cache = try temporaryDirectory()
        defer { _ = system("rm -rf " + cache) }
        try EngineFixture.with(EngineOptions(memoryBytes: 32 << 20, cache: (cache, 1 << 30))) { fixture in
            let body = ObjectBody.generated(size: 3 << 20, seed: 4)
            fixture.store.put("file", body)
            let (session, path) = try fixture.mount(EngineFixture.lasting)
            try #require(session.status.hasPassthrough, "the kernel has no passthrough")
            let reads = fixture.registry.histogram(
                "millrace_operation_seconds", "", ["operation": "read"])
            let expected = body.bytes(in: 0..<(3 << 20))
            // Until the last block is written behind.
            #expect(
                eventually {
                    let before = reads.count
                    guard let bytes = try? contents(path + "/file"), bytes == expected else { return false }
                    // From the page cache no read comes either, so that has to be empty.
                    guard let inode = status(path + "/file")?.st_ino else { return false }
                    try? session.session.invalidate(inode: UInt64(inode))
                    return reads.count == before && session.status.openFiles == 0
                })
            #expect(fixture.store.counts.gets < 20)
        }
    }

    private func status(_ path: String) -> stat? {
        var status = stat()
        return stat(path, &status) == 0 ? status : nil
    }

    private func system(_ command: String) -> Int32 {
        var pid: pid_t = 0
        var argv: [UnsafeMutablePointer<CChar>?] = ["sh", "-c", command].map { strdup($0 as String) } + [nil]
        defer { for pointer in argv { free(pointer) } }
        guard posix_spawnp(&pid, "sh", nil, nil, &argv, environ) == 0 else { return -1 }
        var status: Int32 = 0
        waitpid(pid, &status, 0)
        return status
    }
}
