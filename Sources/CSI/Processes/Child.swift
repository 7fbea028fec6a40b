import CLinux
import Glibc
import NodeProtocol

/// A process that goes on when we end: in a session of its own, with its output in a file, and with nothing of our
/// environment or our descriptors.
struct Child {
    let pid: pid_t

    /// POSIX_SPAWN_SETSID, a macro behind _GNU_SOURCE.
    private static let ownSession: Int16 = 0x80
    private static let flags = ownSession | Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF)

    static func start(_ program: String, _ arguments: [String], logFile: String) throws(Refusal) -> Child {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, logFile, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        guard clinux_spawn_close_from(&actions, 3) == 0 else { throw .system("start \(program)", ENOMEM) }

        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        var all = sigset_t()
        sigfillset(&all)
        posix_spawnattr_setsigdefault(&attributes, &all)
        posix_spawnattr_setflags(&attributes, Self.flags)

        var words: [UnsafeMutablePointer<CChar>?] = ([program] + arguments).map { strdup($0) } + [nil]
        var environment: [UnsafeMutablePointer<CChar>?] =
            ["PATH", "TZ", "LANG"].compactMap { name in getenv(name).map { strdup(name + "=" + String(cString: $0)) } }
            + [nil]
        defer { for word in words + environment { free(word) } }
        var pid: pid_t = 0
        let status = posix_spawn(&pid, program, &actions, &attributes, &words, &environment)
        guard status == 0 else { throw .system("start \(program)", status) }
        return Child(pid: pid)
    }

    /// True once it has ended; it leaves no zombie then.
    func hasEnded() -> Bool {
        var status: Int32 = 0
        return waitpid(pid, &status, WNOHANG) != 0
    }

    /// Ends a process that does not answer, ours or one that a plugin before us started. Waits for its end.
    static func kill(_ pid: Int32) {
        guard pid > 1 else { return }
        let handle = clinux_pidfd_open(pid)
        guard handle >= 0 else { return }
        let descriptor = Descriptor(handle)
        _ = clinux_pidfd_kill(descriptor.raw, SIGKILL)
        var poll = pollfd(fd: descriptor.raw, events: Int16(POLLIN), revents: 0)
        _ = Glibc.poll(&poll, 1, 5_000)
        var status: Int32 = 0
        waitpid(pid, &status, WNOHANG)
    }
}
