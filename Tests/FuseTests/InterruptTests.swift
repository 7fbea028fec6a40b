import Glibc
import SystemPackage
import Testing
import Threads

@testable import Fuse

private typealias Inode = MemoryFileSystem.Inode

@Suite("Signals to who waits", .serialized, .enabled(if: isMountingPossible(), "needs root and /dev/fuse"))
struct InterruptTests {
    /// Waits for a page of a file without read-ahead: what is read ahead, or past the page cache, the kernel waits for by
    /// itself.
    private static let reader = """
        import mmap, signal, sys
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        file = open(sys.argv[1], "rb")
        pages = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        pages.madvise(mmap.MADV_RANDOM)
        pages[0]
        """

    @Test("a program that waits for bytes ends at once when it is told to", arguments: [SIGINT, SIGTERM, SIGKILL])
    func read(signal: Int32) throws {
        try MountFixture.with { mount in
            let reader = try spawn(["python3", "-c", Self.reader, mount.path + "/slow"])
            #expect(eventually { mount.files.held.withLock { $0.count } == 1 })
            kill(reader, signal)
            #expect(endsBy(signal, reader))
            try #require(mount.files.held.withLock { $0.count } == 1, "and its read was not answered")
            #expect(eventually { mount.session.requestsInFlight == 0 })
            // The answer that comes late goes nowhere, and the next reader is served.
            mount.files.answer(mount.files.held.withLock { $0.removeFirst() })
            let path = mount.path
            let next = onThread { try? withOpen(path + "/slow", O_RDONLY | directIO) { try readAll($0, chunk: 8192) } }
            #expect(
                eventually {
                    mount.files.answerHeld()
                    return next.wait(until: .now) != nil
                })
            #expect(next.value() == Pattern().bytes(of: Inode.slow, 0..<4096))
        }
    }

    @Test("a program that waits for a name ends at once; the name can be looked up again")
    func lookup() throws {
        try MountFixture.with { mount in
            let program = try spawn(["stat", mount.path + "/waited-for"])
            try #require(eventually { mount.files.heldLookups.withLock { $0.count } == 1 })
            kill(program, SIGINT)
            #expect(endsBy(SIGINT, program))
            let parked = mount.files.heldLookups.withLock { $0.removeFirst() }
            let late = parked.resume()
            #expect(late.inode == Inode.root && late.operation == .lookup)
            let isTaken = late.fail(.noSuchFileOrDirectory)
            #expect(!isTaken)
            let path = mount.path
            let next = onThread { () -> Int32 in
                var status = stat()
                return stat(path + "/waited-for", &status) == 0 ? 0 : errno
            }
            try #require(eventually { mount.files.heldLookups.withLock { $0.count } == 1 })
            let isHeard = mount.files.heldLookups.withLock { $0.removeFirst() }.resume().fail(.noSuchFileOrDirectory)
            #expect(isHeard && next.value() == ENOENT)
        }
    }

    @Test("a program with a handler of its own gets EINTR for SIGINT; for SIGUSR1 it waits on")
    func handled() throws {
        try MountFixture.with { mount in
            let path = mount.path
            for number in [SIGINT, SIGUSR1] { Glibc.signal(number) { _ in } }
            defer { for number in [SIGINT, SIGUSR1] { Glibc.signal(number, SIG_DFL) } }
            for number in [SIGUSR1, SIGINT] {
                let thread = Locked<pthread_t?>(nil)
                let waiter = onThread { () -> Int32 in
                    unblockSignals()
                    thread.withLock { $0 = pthread_self() }
                    var status = stat()
                    return stat(path + "/waited-for", &status) == 0 ? 0 : errno
                }
                try #require(eventually { mount.files.heldLookups.withLock { $0.count } == 1 })
                pthread_kill(try #require(thread.withLock { $0 }), number)
                if number == SIGUSR1 {
                    // The kernel tells of it before it hands out what is asked later.
                    var figures = statvfs()
                    #expect(statvfs(path, &figures) == 0)
                    #expect(waiter.wait(until: .now) == nil)
                    let isHeard = mount.files.heldLookups.withLock { $0[0] }.resume().fail(.noSuchFileOrDirectory)
                    #expect(isHeard)
                }
                #expect(waiter.value() == (number == SIGINT ? EINTR : ENOENT))
                mount.files.heldLookups.withLock { $0 = [] }
            }
        }
    }

    @Test("an interrupt that overtakes its request is not lost")
    func early() throws {
        final class Waiter: Interruptible {
            let thread: UInt32
            let isInterrupted = Locked(false)
            init(_ thread: UInt32) { self.thread = thread }
            func interrupt() { isInterrupted.withLock { $0 = true } }
        }
        // A stopped program takes no signal, as one that waits in the kernel.
        let program = try spawn(["sleep", "1000"])
        defer {
            kill(program, SIGKILL)
            waitpid(program, nil, 0)
        }
        kill(program, SIGSTOP)
        #expect(waitpid(program, nil, WUNTRACED) == program)
        let requests = WaitingRequests()
        let waiters = (0..<4).map { _ in Waiter(UInt32(program)) }
        func interrupted() -> [Bool] { waiters.map { $0.isInterrupted.withLock { $0 } } }

        requests.add(2, waiters[0])
        requests.interrupted(2)
        #expect(interrupted() == [false, false, false, false], "no signal yet")
        kill(program, SIGTERM)
        requests.interrupted(2)
        requests.interrupted(4)
        requests.add(4, waiters[1])
        #expect(interrupted() == [true, true, false, false])
        requests.add(6, waiters[2])
        requests.remove(6)
        requests.interrupted(6)
        for unique in 100..<200 { requests.interrupted(UInt64(unique) * 2) }
        requests.add(398, waiters[3])
        #expect(interrupted() == [true, true, false, true])
    }

    @Test(
        "only signals that end a program count, and only those that it lets through",
        arguments: [
            ("0000000000000100", "0", "0", true), ("0", "0000000000000002", "0", true),
            ("0", "0000000000004000", "0", true),
            ("0", "0000000000004000", "0000000000004000", false), ("0000000000010000", "0", "0", false),
            ("0", "0", "0", false),
            ("0000000008000000", "0000000000000202", "0000000000000002", false),
        ])
    func pending(own: String, shared: String, blocked: String, expected: Bool) {
        let status =
            "Name:\tx\nState:\tS (sleeping)\nSigQ:\t0/1\nSigPnd:\t\(own)\nShdPnd:\t\(shared)\nSigBlk:\t\(blocked)\n"
        #expect(PendingSignals(status: Array(status.utf8))?.askToEnd == expected)
        #expect(PendingSignals(status: Array("Name:\tx\n".utf8)) == nil)
        #expect(PendingSignals(ofThread: 0) == nil)
    }

    /// Whether the signal ends the child within the time of any wait here.
    private func endsBy(_ signal: Int32, _ child: pid_t) -> Bool {
        var status: Int32 = 0
        return eventually { waitpid(child, &status, WNOHANG) == child } && status & 0x7f == signal
    }
}
