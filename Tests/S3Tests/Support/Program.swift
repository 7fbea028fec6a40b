import Glibc
import Threads

/// A program that runs beside a test and is killed with the value.
final class Program: Sendable {
    private let pid: pid_t
    private let log: String
    struct Failed: Error { var description: String }

    static func find(_ name: String) -> String? {
        let path = getenv("PATH").map { String(cString: $0) } ?? ""
        return path.split(separator: ":").map { "\($0)/\(name)" }.first { access($0, X_OK) == 0 }
    }

    static func freePort() -> Int {
        let server = ScriptedServer { _, _, _ in }
        return server.port
    }

    init(_ name: String, _ arguments: [String], log: String) throws {
        self.log = log
        guard let path = Self.find(name) else { throw Failed(description: "\(name) is not installed") }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        let words = [path] + arguments
        let strings = words.map { strdup($0) } + [nil]
        defer { for string in strings { free(string) } }
        let names = ["PATH", "HOME"]
        let variables: [String] = names.compactMap { name in getenv(name).map { "\(name)=\(String(cString: $0))" } }
        let environment = variables.map { strdup($0) } + [nil]
        defer { for string in environment { free(string) } }
        var pid: pid_t = 0
        let status = posix_spawn(&pid, path, &actions, nil, strings, environment)
        guard status == 0 else { throw Failed(description: "\(path): \(status)") }
        self.pid = pid
    }

    /// Runs it to its end.
    static func run(_ name: String, _ arguments: [String], log: String) throws {
        let program = try Program(name, arguments, log: log)
        var status: Int32 = 0
        waitpid(program.pid, &status, 0)
        if status != 0 { throw Failed(description: "\(name) failed; see \(log)") }
    }

    func waitForPort(_ port: Int) throws {
        let deadline = Instant.now.advanced(byMs: 60_000)
        while Instant.now < deadline {
            let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            defer { close(socket) }
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = UInt16(port).bigEndian
            address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
            let status = withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
            if status == 0 { return }
            var ended: Int32 = 0
            if waitpid(pid, &ended, WNOHANG) == pid { throw Failed(description: "it ended at once; see \(log)") }
            usleep(20_000)
        }
        throw Failed(description: "nothing listens on port \(port)")
    }

    deinit {
        kill(pid, SIGKILL)
        var status: Int32 = 0
        waitpid(pid, &status, 0)
    }
}
