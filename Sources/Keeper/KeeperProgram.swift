import CLinux
import Glibc
import NodeProtocol
import Threads

/// The keeper: holds what must outlive an engine, and does nothing else.
public enum KeeperProgram {
    public struct Options: Equatable, Sendable {
        public var socket = ""
        /// Who it becomes, when it was started by root.
        public var user: (uid: UInt32, gid: UInt32)?
        /// Ends when it holds nothing and nobody has been connected for this long.
        public var idleExitMs: Int?

        public init() {}

        public static func == (a: Options, b: Options) -> Bool {
            a.socket == b.socket && a.user?.uid == b.user?.uid && a.user?.gid == b.user?.gid
                && a.idleExitMs == b.idleExitMs
        }
    }

    public struct UsageError: Error, Equatable {
        public let message: String
    }

    public static let usage = "usage: millrace-keeper --socket PATH [--user UID:GID] [--exit-when-idle SECONDS]"

    public static func parse(_ arguments: [String]) throws(UsageError) -> Options {
        var options = Options()
        var rest = arguments[...]
        while let name = rest.popFirst() {
            guard ["--socket", "--user", "--exit-when-idle"].contains(name) else {
                throw UsageError(message: "unknown argument \(name)")
            }
            guard let value = rest.popFirst(), !value.isEmpty else {
                throw UsageError(message: "\(name) needs a value")
            }
            switch name {
            case "--socket": options.socket = value
            case "--user":
                let parts = value.split(separator: ":", omittingEmptySubsequences: false).map { UInt32($0) }
                guard parts.count == 2, let uid = parts[0], let gid = parts[1] else {
                    throw UsageError(message: "--user is UID:GID in numbers, not \(value)")
                }
                options.user = (uid, gid)
            default:
                guard let seconds = Int(value), (1...86_400).contains(seconds) else {
                    throw UsageError(message: "--exit-when-idle is 1 to 86400 seconds, not \(value)")
                }
                options.idleExitMs = seconds * 1_000
            }
        }
        guard !options.socket.isEmpty else { throw UsageError(message: "--socket is missing") }
        return options
    }

    /// Serves until a signal or until it is idle; answers the exit code.
    public static func run(_ options: Options) -> Int32 {
        signal(SIGPIPE, SIG_IGN)
        var limit = rlimit()
        if getrlimit(__rlimit_resource_t(UInt32(RLIMIT_NOFILE.rawValue)), &limit) == 0 {
            limit.rlim_cur = limit.rlim_max
            setrlimit(__rlimit_resource_t(UInt32(RLIMIT_NOFILE.rawValue)), &limit)
        }
        if let user = options.user, geteuid() == 0, clinux_become(user.uid, user.gid) != 0 {
            complain("cannot become user \(user.uid): \(String(cString: strerror(errno)))")
            return 1
        }
        // Before anything secret can arrive.
        _ = clinux_forbid_dumps()

        // SIGTERM and SIGINT are taken here, by the main thread, not by a handler.
        var signals = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGTERM)
        sigaddset(&signals, SIGINT)
        pthread_sigmask(SIG_BLOCK, &signals, nil)

        let store = ItemStore()
        let server: FrameServer
        do throws(NodeError) {
            server = try FrameServer(path: options.socket, name: "keeper", handler: store)
        } catch {
            complain("\(error)")
            return 1
        }
        while true {
            var second = timespec(tv_sec: 1, tv_nsec: 0)
            if sigtimedwait(&signals, nil, &second) > 0 { break }
            if let idleMs = options.idleExitMs, store.isEmpty, let since = server.idleSince,
                Instant.now.ms(since: since) >= Double(idleMs)
            {
                break
            }
        }
        server.stop()
        return 0
    }

    public static func complain(_ message: String) {
        var line = "millrace-keeper: \(message)\n"
        line.withUTF8 { _ = write(2, $0.baseAddress, $0.count) }
    }
}
