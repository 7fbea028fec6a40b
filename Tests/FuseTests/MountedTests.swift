import CFuse
import Fuse
import Glibc
import SystemPackage
import Testing
import Threads

private typealias Inode = MemoryFileSystem.Inode

@Suite("A mounted file system", .serialized, .enabled(if: isMountingPossible(), "needs root and /dev/fuse"))
struct MountedTests {
    let pattern = Pattern()

    @Test("names are found, with their attributes, or not")
    func lookup() throws {
        try MountFixture.with { mount in
            var status = stat()
            #expect(stat(mount.path + "/hello", &status) == 0)
            #expect(status.st_size == 5 && status.st_ino == Inode.hello && status.st_mode == S_IFREG | 0o444)
            #expect(status.st_uid == 11 && status.st_gid == 22 && status.st_mtim.tv_sec == 1_700_000_000)
            #expect(stat(mount.path + "/nothing", &status) == -1 && errno == ENOENT)
            #expect(stat(mount.path + "/nothing", &status) == -1 && errno == ENOENT)
            #expect(mount.files.seen.withLock { $0.lookupRequests } == 2, "the kernel keeps what is not there, too")
        }
    }

    @Test("reads of any size at any place have the file's bytes")
    func readSizes() throws {
        try MountFixture.with { mount in
            let size = 8 << 20 | 77
            let all = pattern.bytes(of: Inode.big, 0..<UInt64(size))
            for flags in [O_RDONLY, O_RDONLY | directIO] {
                try withOpen(mount.path + "/big", flags) { fd in
                    try #expect(readAll(fd) == all)
                    for length in [1, 511, 4096, 4097, 65_536, 131_073, 1 << 20, (1 << 20) + 1, 3 << 20] {
                        for offset in [0, 1, 4095, 65_535, (1 << 20) - 1, size - length, size - 1, size, size + 5]
                        where offset >= 0 {
                            var bytes = [UInt8](repeating: 0, count: length)
                            let n = pread(fd, &bytes, length, offset)
                            let end = min(offset + length, size)
                            #expect(n == max(0, end - offset), "\(length) at \(offset)")
                            let rest = all[min(offset, size)..<max(end, min(offset, size))]
                            #expect(bytes.prefix(max(n, 0)).elementsEqual(rest))
                        }
                    }
                }
            }
            #expect(mount.files.seen.withLock { $0.largestRead } == 1 << 20)
            #expect(eventually { mount.session.requestsInFlight == 0 })
        }
    }

    @Test("a read that waits holds up neither other reads nor other files")
    func parkedRead() throws {
        try MountFixture.with(workers: 2) { mount in
            let path = mount.path
            let slow = (0..<8).map { n in
                onThread { try? withOpen(path + "/slow", O_RDONLY | directIO) { try readAll($0, chunk: 4096) } }
            }
            #expect(eventually { mount.files.held.withLock { $0.count } == 8 })
            try #expect(withOpen(path + "/hello") { try readAll($0) } == pattern.bytes(of: Inode.hello, 0..<5))
            // The second reads, for the end of the file, come as the first are answered.
            let files = mount.files
            let answering = Thread("answer") {
                _ = eventually {
                    files.answerHeld()
                    return files.seen.withLock { $0.released } >= 9
                }
            }
            for reader in slow { #expect(reader.value() == pattern.bytes(of: Inode.slow, 0..<4096)) }
            answering.join()
        }
    }

    @Test("reads that are answered at once use one request object over and over")
    func reuse() throws {
        try MountFixture.with(workers: 1) { mount in
            for n in 0..<100 {
                try withOpen(mount.path + "/big", O_RDONLY | directIO) { fd in
                    var bytes = [UInt8](repeating: 0, count: 1000)
                    #expect(pread(fd, &bytes, 1000, off_t(n * 4096)) == 1000)
                }
            }
            #expect(mount.files.seen.withLock { $0.reads } >= 100)
            #expect(mount.files.firstRead.withLock { $0.hasChanged } == false)
        }
    }

    @Test("a read that is dropped fails with EIO, and none is left behind")
    func droppedRead() throws {
        try MountFixture.with { mount in
            try withOpen(mount.path + "/dropped") { fd in
                var byte: UInt8 = 0
                // The worker lets go of an unanswered read when the next one comes.
                let path = mount.path
                let reader = onThread { () -> Int32 in
                    var byte: UInt8 = 0
                    return pread(fd, &byte, 1, 0) < 0 ? errno : 0
                }
                #expect(
                    eventually {
                        for _ in 0..<4 {
                            _ = try? withOpen(path + "/big", O_RDONLY | directIO) { pread($0, &byte, 1, 0) }
                        }
                        return reader.wait(until: .now) != nil
                    })
                #expect(reader.value() == EIO)
            }
            #expect(eventually { mount.session.requestsInFlight == 0 })
        }
    }

    @Test("a directory of 100,000 names is listed completely, and its entries need no lookup")
    func hugeDirectory() throws {
        try MountFixture.with(crowdSize: 100_000) { mount in
            let directory = try #require(opendir(mount.path + "/crowd"))
            defer { closedir(directory) }
            let lookups = mount.files.seen.withLock { $0.lookupRequests }
            var names: Set<String> = []
            var inodes = 0
            while let entry = Glibc.readdir(directory) {
                let name = withUnsafePointer(to: &entry.pointee.d_name) {
                    String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
                }
                #expect(names.insert(name).inserted, "\(name) came twice")
                if let n = UInt64(name.dropFirst(5)), entry.pointee.d_ino == Inode.first + n { inodes += 1 }
                if names.count == 100 {
                    var status = stat()
                    #expect(stat(mount.path + "/crowd/file-50", &status) == 0 && status.st_size == Inode.first + 50)
                }
            }
            #expect(names.count == 100_002 && inodes == 100_000)
            #expect(mount.files.seen.withLock { $0.lookupRequests } - lookups == 0)
        }
    }

    @Test("every lookup is forgotten once the kernel drops the name")
    func forget() throws {
        try MountFixture.with { mount in
            var status = stat()
            for n in 0..<500 { #expect(stat(mount.path + "/crowd/file-\(n)", &status) == 0) }
            for n in 0..<500 {
                let name = Array("file-\(n)".utf8)
                try name.withUnsafeBytes { try mount.session.invalidate(name: $0, in: Inode.crowd) }
            }
            #expect(
                eventually {
                    mount.files.seen.withLock { seen in
                        (0..<500).allSatisfy { n in
                            let inode = Inode.first + UInt64(n)
                            return seen.lookups[inode] ?? 0 > 0 && seen.lookups[inode] == seen.forgotten[inode]
                        }
                    }
                })
        }
    }

    @Test("an aborted connection ends: its readers get an error, its owner is told")
    func abort() throws {
        try MountFixture.with { mount in
            let path = mount.path
            let reader = onThread { () -> Int32 in
                do {
                    _ = try withOpen(path + "/slow") { try readAll($0) }
                    return 0
                } catch { return (error as? Errno)?.rawValue ?? -1 }
            }
            #expect(eventually { !mount.files.held.withLock { $0.isEmpty } })
            // Keeps the mount in place, whichever way it is aborted.
            let user = open(path + "/hello", O_RDONLY)
            defer { close(user) }
            #expect(Mounter.abort(mount.entry))
            #expect([ECONNABORTED, ENOTCONN, EIO].contains(reader.value() ?? 0))
            #expect(eventually { mount.files.seen.withLock { $0.ending } != nil })
            // Too late, and harmless. Another worker may still bring one that the kernel read ahead.
            #expect(
                eventually {
                    let held = mount.files.held.withLock { held in
                        defer { held = [] }
                        return held
                    }
                    for read in held { mount.files.answer(read) }
                    return mount.session.requestsInFlight == 0
                })
            // An abort tells it as ECONNABORTED, a connection without a server as ENOTCONN.
            #expect([ENOTCONN, ECONNABORTED].contains(Mounter.probe(path)?.rawValue ?? 0))
        }
    }

    @Test("an unmount from outside ends the session")
    func unmount() throws {
        try MountFixture.with { mount in
            try Mounter.unmount(mount.path)
            #expect(eventually { mount.files.seen.withLock { $0.ending } == .unmounted })
            #expect(throws: MountError.self) { try Mounter.unmount(mount.path) }
        }
    }

    @Test("a busy mount is not unmounted, but lazily")
    func busy() throws {
        try MountFixture.with { mount in
            try withOpen(mount.path + "/hello") { fd in
                let error = #expect(throws: MountError.self) { try Mounter.unmount(mount.path) }
                #expect(error?.reason == .busy)
                try Mounter.unmount(mount.path, lazily: true)
                try #expect(readAll(fd) == pattern.bytes(of: Inode.hello, 0..<5))
            }
            #expect(eventually { mount.files.seen.withLock { $0.ending } == .unmounted })
        }
    }

    @Test("nothing can be written")
    func readOnly() throws {
        try MountFixture.with { mount in
            #expect(open(mount.path + "/new", O_CREAT | O_WRONLY, 0o644) == -1 && errno == EROFS)
            #expect(open(mount.path + "/hello", O_WRONLY) == -1 && errno == EROFS)
            #expect(mkdir(mount.path + "/new", 0o755) == -1 && errno == EROFS)
            #expect(unlink(mount.path + "/hello") == -1 && errno == EROFS)
            #expect(mount.entry.options.contains("ro") && mount.entry.superOptions.hasPrefix("ro"))
            #expect(["nosuid", "nodev", "noatime"].allSatisfy { mount.entry.options.contains($0) })
            #expect(mount.entry.type == Mounter.type && mount.entry.source == "memory")
        }
    }

    @Test("statistics and extended attributes")
    func statistics() throws {
        try MountFixture.with { mount in
            var figures = statvfs()
            #expect(statvfs(mount.path, &figures) == 0 && figures.f_blocks == 1 << 30 && figures.f_namemax == 255)
            var value = [UInt8](repeating: 0, count: 16)
            let path = mount.path + "/hello"
            #expect(getxattr(path, "user.colour", nil, 0) == 4)
            #expect(getxattr(path, "user.colour", &value, 16) == 4 && value.starts(with: "blue".utf8))
            #expect(getxattr(path, "user.colour", &value, 3) == -1 && errno == ERANGE)
            #expect(getxattr(path, "user.size", &value, 16) == -1 && errno == ENODATA)
            #expect(listxattr(path, nil, 0) == 12)
        }
    }

    @Test("a reader that gets a signal still gets its bytes; a killed one leaves nothing behind")
    func interrupted() throws {
        try MountFixture.with { mount in
            let path = mount.path
            signal(SIGUSR2) { _ in }
            let id = Locked<pthread_t?>(nil)
            let reader = onThread { () -> [UInt8]? in
                unblockSignals()
                id.withLock { $0 = pthread_self() }
                return try? withOpen(path + "/slow", O_RDONLY | directIO) { fd in
                    var bytes = [UInt8](repeating: 0, count: 100)
                    return pread(fd, &bytes, 100, 0) == 100 ? bytes : nil
                }
            }
            #expect(eventually { mount.files.held.withLock { $0.count } == 1 })
            for _ in 0..<20 {
                pthread_kill(try #require(id.withLock { $0 }), SIGUSR2)
                usleep(1000)
            }
            mount.files.answer(mount.files.held.withLock { $0.removeFirst() })
            #expect(reader.value() == pattern.bytes(of: Inode.slow, 0..<100))

            let killed = try spawn(["head", "-c", "100", path + "/slow"])
            #expect(eventually { !mount.files.held.withLock { $0.isEmpty } })
            kill(killed, SIGKILL)
            #expect(
                eventually {
                    mount.files.answerHeld()
                    return waitpid(killed, nil, WNOHANG) == killed
                })
            #expect(eventually { mount.session.requestsInFlight == 0 })
            #expect(eventually { mount.files.seen.withLock { $0.opened == $0.released } })
        }
    }

    @Test("an idle mount wakes no thread")
    func idle() throws {
        try MountFixture.with { mount in
            try #expect(withOpen(mount.path + "/hello") { try readAll($0).count } == 5)
            #expect(eventually { mount.files.seen.withLock { $0.released } == 1 })
            func switches() -> [String] {
                (try? contents(of: "/proc/self/task")) ?? []
            }
            var before: [String] = []
            // What was under way ends: two equal looks.
            #expect(
                eventually {
                    let now = switches()
                    defer { before = now }
                    usleep(50_000)
                    return now == before
                })
            usleep(300_000)
            #expect(switches() == before)
        }
    }

    /// Thread ids and context switches of the threads named "fuse-…".
    private func contents(of directory: String) throws -> [String] {
        let tasks = try #require(opendir(directory))
        defer { closedir(tasks) }
        var out: [String] = []
        while let entry = Glibc.readdir(tasks) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
            }
            guard let bytes = try? withOpen("\(directory)/\(name)/status", O_RDONLY, { try readAll($0) }) else {
                continue
            }
            let text = String(decoding: bytes, as: UTF8.self)
            guard text.contains("Name:\tfuse-") else { continue }
            out.append(name + " " + text.split(separator: "\n").filter { $0.contains("ctxt") }.joined(separator: " "))
        }
        return out.sorted()
    }
}

func spawn(_ arguments: [String]) throws -> pid_t {
    var pid: pid_t = 0
    var argv: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
    defer { for pointer in argv { free(pointer) } }
    // The threads of the tests' pool, from which it is started, take no signals.
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    let status = posix_spawnp(&pid, arguments[0], nil, &attributes, &argv, environ)
    guard status == 0 else { throw Errno(rawValue: status) }
    return pid
}
