import CLinux
import Glibc
import Logging
import Mount
import NodeProtocol

/// `--survive`: a keeper beside the mount's process, a process of its own that holds the mount when that one is killed.
enum Survival {
    /// A keeper with nothing to hold ends after this.
    private static let idleSeconds = 3
    /// POSIX_SPAWN_SETSID of <spawn.h>, a macro behind _GNU_SOURCE.
    private static let posixSpawnSetsid: Int16 = 0x80

    static func start(_ path: String, _ engine: Engine, _ logger: Logger) throws -> SurvivingMount {
        do {
            try MountRecord.makeDirectory()
            let socket = MountRecord.keeperSocket(of: path)
            if (try? FrameClient(connectingTo: socket)) == nil { try startKeeper(socket) }
            return try SurvivingMount(engine, keeper: socket, logger: logger)
        } catch let failure as Failure {
            throw failure
        } catch {
            throw Failure(
                "cannot mount on \(path)", because: "no keeper can hold it: \(error)", fix: "leave --survive out")
        }
    }

    /// The mount at `path` was taken off while its process was dead.
    static func drop(_ path: String) { SurvivingMount.drop(keeper: MountRecord.keeperSocket(of: path)) }

    private static func startKeeper(_ socket: String) throws {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        _ = clinux_spawn_close_from(&actions, 3)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        posix_spawnattr_setflags(&attributes, posixSpawnSetsid)
        let words = ["millrace", "keeper", "--socket", socket, "--exit-when-idle", "\(idleSeconds)"]
        var argv = words.map { strdup($0) } + [nil]
        // It needs nothing of ours, least of all our keys.
        var environment: [UnsafeMutablePointer<CChar>?] = [nil]
        defer { for word in argv { free(word) } }
        var child = pid_t()
        let status = posix_spawn(&child, "/proc/self/exe", &actions, &attributes, &argv, &environment)
        guard status == 0 else {
            throw Failure(
                "cannot start a keeper", because: String(cString: strerror(status)), fix: "leave --survive out")
        }
    }
}
