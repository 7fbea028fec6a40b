import CFuse
import Glibc
import SystemPackage
import Threads

/// A child process that is killed when it takes too long: for system calls that a dead mount may block for ever, and
/// for fusermount3.
struct Child {
    let pid: Int32

    /// `fork`: a pid, or a negated errno.
    init(fork: Int32) throws(Errno) {
        guard fork > 0 else { throw Errno(rawValue: -fork) }
        pid = fork
    }

    /// Starts a program with the environment given, nothing of ours: ours may hold secrets. In it, `descriptors[n]` is
    /// open as n.
    init(_ arguments: [String], environment: [String], descriptors: [Int32: Int32]) throws(Errno) {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        for (target, source) in descriptors { posix_spawn_file_actions_adddup2(&actions, source, target) }
        var argv: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        var envp: [UnsafeMutablePointer<CChar>?] = environment.map { strdup($0) } + [nil]
        defer { for pointer in argv + envp { free(pointer) } }
        var pid: pid_t = 0
        let status = posix_spawnp(&pid, arguments[0], &actions, nil, &argv, &envp)
        guard status == 0 else { throw Errno(rawValue: status) }
        self.pid = pid
    }

    /// Waits for its exit status. Kills it at the deadline and throws ETIMEDOUT; a child that the kernel won't let die
    /// yet is left to itself.
    func exitStatus(deadline: Instant) throws(Errno) -> Int32 {
        if !waitForExit(deadline) {
            kill(pid, SIGKILL)
            if waitForExit(.now.advanced(byMs: 1000)) { _ = reap() }
            throw .timedOut
        }
        let status = reap()
        // A signal, or a status: as wait(2) packs them.
        return status & 0x7f == 0 ? (status >> 8) & 0xff : EINTR
    }

    private func waitForExit(_ deadline: Instant) -> Bool {
        let descriptor = cfuse_pidfd_open(pid)
        // Without pidfds (before Linux 5.3) the wait is unlimited, as before them.
        guard descriptor >= 0 else { return true }
        defer { close(descriptor) }
        while true {
            var wanted = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            if poll(&wanted, 1, Int32(min(deadline.ms(since: .now).rounded(.up), 60_000))) > 0 { return true }
            if deadline <= .now { return false }
        }
    }

    private func reap() -> Int32 {
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0 && errno == EINTR {}
        return status
    }
}
