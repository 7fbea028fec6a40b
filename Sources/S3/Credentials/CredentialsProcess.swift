import CLinux
import Glibc
import Threads

/// Runs a `credential_process`: a shell's child in its own process group, without our secrets in its environment, and
/// killed with all its children at its deadline.
struct CredentialsProcess {
    var command: String
    var profile: String
    var deadlineMs = 60_000

    private static let maxOutputBytes = 64 << 10
    private static let secrets: Set<String> = [
        "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_ACCESS_KEY_ID",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    ]

    /// Blocks until the child has ended or was killed.
    func run(_ environment: Environment = .process) -> Result<Credentials, S3Error> {
        let origin = "the credential_process of profile \"\(profile)\""
        func wrong(_ why: String) -> Result<Credentials, S3Error> { .failure(.credentials("\(origin) \(why)")) }
        var pipe: [Int32] = [0, 0]
        guard clinux_pipe(&pipe) == 0 else { return wrong("can't be started: no pipe (\(errno))") }
        defer { close(pipe[0]) }
        let child = spawn(environment, output: pipe[1])
        close(pipe[1])
        guard let child else { return wrong("can't be started") }

        let deadline = Instant.now.advanced(byMs: deadlineMs)
        let (output, problem) = read(pipe[0], until: deadline)
        // It may have closed its output and still run.
        let status = problem == nil ? wait(child, until: deadline) : nil
        guard let status else {
            kill(-child, SIGKILL)
            var ignored: Int32 = 0
            waitpid(child, &ignored, 0)
            return wrong(problem ?? "did not end within \(deadlineMs) ms and was killed")
        }
        // Children that it left behind.
        kill(-child, SIGKILL)
        if status & 0x7F != 0 { return wrong("was ended by signal \(status & 0x7F)") }
        if status >> 8 & 0xFF != 0 { return wrong("failed with exit status \(status >> 8 & 0xFF)") }
        return CredentialsJSON.parse(output, origin: origin)
    }

    private func spawn(_ environment: Environment, output: Int32) -> pid_t? {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, output, 1)
        posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
        clinux_spawn_close_from(&actions, 3)

        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var signals = sigset_t()
        sigemptyset(&signals)
        posix_spawnattr_setsigmask(&attributes, &signals)
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK))

        let variables = environment.values.filter { !Self.secrets.contains($0.key) }.map { "\($0.key)=\($0.value)" }
        let arguments = ["/bin/sh", "-c", command].map { $0.withCString { strdup($0) } } + [nil]
        let strings = variables.map { $0.withCString { strdup($0) } } + [nil]
        defer { for string in arguments + strings { free(string) } }
        var child: pid_t = 0
        return posix_spawn(&child, "/bin/sh", &actions, &attributes, arguments, strings) == 0 ? child : nil
    }

    private func read(_ descriptor: Int32, until deadline: Instant) -> (output: [UInt8], problem: String?) {
        var output: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4096)
        while true {
            var poll = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            let leftMs = Int(deadline.ms(since: .now).rounded(.up))
            if leftMs == 0 { return (output, "did not end within \(deadlineMs) ms and was killed") }
            if Glibc.poll(&poll, 1, Int32(clamping: leftMs)) <= 0 { continue }
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            if count == 0 { return (output, nil) }
            if count < 0 { if errno == EINTR { continue } else { return (output, "can't be read (\(errno))") } }
            output += chunk[..<count]
            if output.count > Self.maxOutputBytes { return (output, "wrote more than \(Self.maxOutputBytes) bytes") }
        }
    }

    /// The child's wait status; nil at the deadline.
    private func wait(_ child: pid_t, until deadline: Instant) -> Int32? {
        let descriptor = clinux_pidfd_open(child)
        defer { if descriptor >= 0 { close(descriptor) } }
        var status: Int32 = 0
        while true {
            let result = waitpid(child, &status, WNOHANG)
            if result == child { return status }
            let leftMs = Int(deadline.ms(since: .now).rounded(.up))
            if leftMs == 0 || (result < 0 && errno != EINTR) { return nil }
            var poll = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            // Without pidfd_open (before Linux 5.3) this looks every 10 ms.
            _ = Glibc.poll(&poll, descriptor >= 0 ? 1 : 0, descriptor >= 0 ? Int32(clamping: leftMs) : 10)
        }
    }
}
