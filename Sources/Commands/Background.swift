import Glibc
import Threads

/// Serves a mount from a process of its own: starts this program again with `--foreground` and waits until it says that
/// the mount is there. (A Swift process has threads from the start, so it can't just fork.)
enum Background {
    /// The option that names the descriptor on which the child says that it is ready.
    static let readyOption = "--ready-descriptor"
    private static let readyDescriptor: Int32 = 3
    /// POSIX_SPAWN_SETSID of <spawn.h>, a macro behind _GNU_SOURCE: a session of its own, away from the terminal.
    private static let posixSpawnSetsid: Int16 = 0x80

    /// Starts `arguments` (of this program) in the background. Answers the child's process ID once it is ready.
    ///
    /// - Throws: `Failure` when the child ended first (it has printed why), or said nothing within `limitMs`.
    static func start(_ arguments: [String], limitMs: Int = 60_000) throws -> pid_t {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0, fcntl(ends[0], F_SETFD, FD_CLOEXEC) == 0, fcntl(ends[1], F_SETFD, FD_CLOEXEC) == 0
        else { throw system("pipe") }
        defer { close(ends[0]) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, ends[1], readyDescriptor)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        posix_spawnattr_setflags(&attributes, posixSpawnSetsid)

        let all = ["millrace"] + arguments + [readyOption, String(readyDescriptor)]
        var argv = all.map { strdup($0) } + [nil]
        defer { for pointer in argv { free(pointer) } }
        var child = pid_t()
        let status = posix_spawn(&child, "/proc/self/exe", &actions, &attributes, &argv, environ)
        close(ends[1])
        guard status == 0 else { throw system("start a process", status) }

        switch waitForReady(ends[0], limitMs: limitMs) {
        case .ready: return child
        case .ended:
            var code: Int32 = 0
            while waitpid(child, &code, 0) < 0 && errno == EINTR {}
            throw ChildFailed(status: code & 0x7f == 0 ? (code >> 8) & 0xff : 1)
        case .silent:
            kill(child, SIGTERM)
            throw Failure(
                "the mount", because: "its process was not ready within \(limitMs / 1000) s",
                fix: "run it with --foreground --log-level debug to see what it waits for")
        }
    }

    /// Called by the child: tells the parent that the mount is there, and lets go of the terminal.
    static func ready(on descriptor: Int32, logFile: String?) {
        _ = write(descriptor, "ok", 2)
        close(descriptor)
        let output = open(logFile ?? "/dev/null", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o640)
        if output >= 0 {
            dup2(output, 1)
            dup2(output, 2)
            close(output)
        }
        _ = chdir("/")
    }

    private enum Readiness { case ready, ended, silent }

    private static func waitForReady(_ descriptor: Int32, limitMs: Int) -> Readiness {
        let deadline = Instant.now.advanced(byMs: limitMs)
        while true {
            var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            let left = deadline.ms(since: .now)
            guard left > 0 else { return .silent }
            let n = poll(&entry, 1, Int32(left) + 1)
            if n < 0 && errno == EINTR { continue }
            guard n > 0 else { return .silent }
            var byte: [UInt8] = [0, 0]
            return read(descriptor, &byte, 2) > 0 ? .ready : .ended
        }
    }

    private static func system(_ what: String, _ code: Int32 = errno) -> Failure {
        Failure("cannot \(what)", because: String(cString: strerror(code)), fix: "use --foreground")
    }
}

/// The child has said why on standard error; only its status is left to pass on.
struct ChildFailed: Error {
    var status: Int32
}
