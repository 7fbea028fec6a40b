import CLinux
import Glibc
import Logging
import SystemPackage
import Testing
import Threads

@testable import Fuse

private typealias Inode = MemoryFileSystem.Inode

@Suite("A connection changes hands", .serialized, .enabled(if: isMountingPossible(), "needs root and /dev/fuse"))
struct TakeoverTests {
    let pattern = Pattern()

    @Test("requests that the first server took and never answered are answered by the second")
    func resend() throws {
        try MountFixture.with { mount in
            try #require(mount.session.exchange.offered.contains(.resend), "the kernel is older than 6.9")
            let path = mount.path
            try withOpen(path + "/hello") { fd in
                let readers = (0..<4).map { n in
                    onThread { () -> [UInt8]? in
                        try? withOpen(path + "/slow", O_RDONLY | directIO) { fd in
                            var bytes = [UInt8](repeating: 0, count: 1000)
                            return pread(fd, &bytes, 1000, n * 512) == 1000 ? bytes : nil
                        }
                    }
                }
                #expect(eventually { mount.files.held.withLock { $0.count } == 4 })
                let copy = mount.copyOfDescriptor()
                mount.server.remove(mount.session)

                let successor = MemoryFileSystem()
                let (session, unanswered) = try Session.resume(
                    copy, mount.session.exchange, successor, logger: Logger(label: "test"))
                #expect(unanswered == .resent)
                let server = try Server()
                try server.add(session)
                defer { server.stop() }
                #expect(eventually { successor.held.withLock { $0.count } == 4 })
                #expect(successor.seen.withLock { $0.resentReads } == 4)
                // The first one's late answers are for requests that are no more.
                for read in mount.files.held.withLock({ $0 }) { read.failed(.ioError) }
                for read in successor.held.withLock({ $0 }) { successor.answer(read) }
                for (n, reader) in readers.enumerated() {
                    #expect(reader.value() == pattern.bytes(of: Inode.slow, UInt64(n * 512)..<UInt64(n * 512 + 1000)))
                }
                // A file that was open before is open still.
                try #expect(readAll(fd) == pattern.bytes(of: Inode.hello, 0..<5))
                try #expect(withOpen(path + "/big") { try readAll($0).count } == 8 << 20 | 77)
                server.remove(session)
            }
        }
    }

    @Test("without asking again, exactly what the first server had not answered fails")
    func withoutResend() throws {
        let memory = FileDescriptor(rawValue: clinux_memory_file("requests-test"))
        defer { try? memory.close() }
        try MountFixture.with(requests: try RequestTable(file: memory)) { mount in
            let path = mount.path
            try withOpen(path + "/hello") { fd in
                let readers = (0..<4).map { n in
                    onThread { () -> Int32 in
                        let fd = open(path + "/slow", O_RDONLY | directIO)
                        defer { close(fd) }
                        var bytes = [UInt8](repeating: 0, count: 1000)
                        return pread(fd, &bytes, 1000, n * 512) == -1 ? errno : 0
                    }
                }
                #expect(eventually { mount.files.held.withLock { $0.count } == 4 })
                let copy = mount.copyOfDescriptor()
                mount.server.remove(mount.session)
                let (session, unanswered) = try Session.resume(
                    copy, mount.session.exchange, MemoryFileSystem(), requests: try RequestTable(file: memory),
                    resends: false, logger: Logger(label: "test"))
                guard case .failed(let uniques) = unanswered else {
                    Issue.record("asked again")
                    return
                }
                #expect(uniques.count == 4)
                let server = try Server()
                try server.add(session)
                defer { server.stop() }
                for reader in readers { #expect(reader.value() == EIO) }
                // The rest goes on, and what is answered leaves nothing behind.
                try #expect(readAll(fd) == pattern.bytes(of: Inode.hello, 0..<5))
                try #expect(withOpen(path + "/big") { try readAll($0).count } == 8 << 20 | 77)
                #expect(eventually { session.requestsInFlight == 0 })
                server.remove(session)
                #expect(try RequestTable(file: memory).takeAll().isEmpty)
                for read in mount.files.held.withLock({ $0 }) { read.failed(.ioError) }
            }
        }
    }

    @Test("eight changes of hands under load: no error, no wrong byte")
    func underLoad() throws {
        try MountFixture.with { mount in
            let path = mount.path
            let expected = pattern.bytes(of: Inode.big, 0..<UInt64(8 << 20 | 77))
            let isOver = Locked(false)
            let readers = (0..<3).map { _ in
                onThread { () -> Int in
                    var turns = 0
                    repeat {
                        guard let bytes = try? withOpen(path + "/big", O_RDONLY | directIO, { try readAll($0) }),
                            bytes == expected
                        else { return -1 }
                        turns += 1
                    } while !isOver.withLock { $0 }
                    return turns
                }
            }
            var session = mount.session
            var servers: [Server] = [mount.server]
            for _ in 0..<8 {
                let before = mount.files.seen.withLock { $0.reads }
                #expect(eventually { mount.files.seen.withLock { $0.reads } > before + 20 })
                let copy = FileDescriptor(rawValue: fcntl(session.descriptor.rawValue, F_DUPFD_CLOEXEC, 0))
                servers.last!.remove(session)
                session = try Session.resume(copy, session.exchange, mount.files, logger: Logger(label: "test")).session
                servers.append(try Server())
                try servers.last!.add(session)
            }
            isOver.withLock { $0 = true }
            for reader in readers { #expect(reader.value() ?? 0 > 0) }
            for server in servers.dropFirst() { server.stop() }
        }
    }

    @Test("a file on disk is read without us")
    func passthrough() throws {
        try MountFixture.with { mount in
            try #require(mount.session.hasPassthrough, "the kernel has no passthrough")
            let directory = try temporaryDirectory()
            let file = directory + "/file"
            let bytes = pattern.bytes(of: 99, 0..<(1 << 20))
            let fd = open(file, O_CREAT | O_RDWR, 0o600)
            #expect(write(fd, bytes, bytes.count) == bytes.count)
            let id = try mount.session.openBacking(FileDescriptor(rawValue: fd))
            close(fd)
            mount.files.backing.withLock { $0 = id }
            try #expect(withOpen(mount.path + "/backed") { try readAll($0) } == bytes)
            #expect(mount.files.seen.withLock { $0.reads } == 0)
            mount.session.closeBacking(id)
            unlink(file)
            rmdir(directory)
        }
    }
}
