import Glibc
import Logging
import NodeProtocol
import Threads

/// Keeps one server of frames answering: an engine or a keeper, started by us or already there. One that died is
/// started at once, one that is stuck (a SIGSTOP, a deadlock) is found by its silence and killed first.
final class Supervisor: Sendable {
    /// How it is started; nil where somebody else does that.
    struct Start: Sendable {
        var program: String
        var arguments: [String]
        var logFile: String
    }

    static let heartbeatMs = 1_000
    /// Silence beyond this is death. A busy machine may well take a second.
    static let silenceMs = 5_000
    private static let startTimeoutMs = 15_000
    private static let maxLogBytes = 8 << 20

    let name: String
    private let socketPath: String
    private let start: Start?
    private let logger: Logger
    private let onStart: @Sendable () -> Void
    private let state = Locked(State())

    private struct State {
        var isHealthy = false
        var isStopping = false
        var pid: Int32 = 0
        var restarts = 0
    }

    /// `onStart` is called, on the supervisor's thread, whenever a server answers that did not before.
    init(
        name: String, socketPath: String, start: Start?, logger: Logger, onStart: @escaping @Sendable () -> Void = {}
    ) {
        self.name = name
        self.socketPath = socketPath
        self.start = start
        self.logger = logger
        self.onStart = onStart
        _ = Thread("watch-\(name)") { [self] in watch() }
    }

    var isHealthy: Bool { state.withLock { $0.isHealthy } }
    var pid: Int32 { state.withLock { $0.pid } }
    var restarts: Int { state.withLock { $0.restarts } }

    /// Stops watching; the process lives on.
    func stop() { state.withLock { $0.isStopping = true } }

    private var isStopping: Bool { state.withLock { $0.isStopping } }

    private func watch() {
        var child: Child?
        var backoffMs = 0.0
        while !isStopping {
            if let client = connect(&child) {
                let since = Instant.now
                state.withLock {
                    $0.isHealthy = true
                    $0.pid = client.serverPID
                }
                onStart()
                let cause = waitForTrouble(client)
                state.withLock { $0.isHealthy = false }
                if isStopping { return }
                logger.error("\(name) is gone", metadata: ["cause": "\(cause)", "pid": "\(client.serverPID)"])
                // What ran for a while deserves a start at once; what dies early doesn't.
                if Instant.now.ms(since: since) > 300 { backoffMs = 0 }
            }
            _ = child?.hasEnded()
            if backoffMs > 0 { usleep(UInt32(backoffMs * Double.random(in: 500...1_000))) }
            backoffMs = min(max(backoffMs * 2, 50), 5_000)
        }
    }

    /// Connects to the server, which is started first where that is ours to do and none answers.
    private func connect(_ child: inout Child?) -> FrameClient? {
        if let client = try? FrameClient(connectingTo: socketPath) { return client }
        guard let start else { return nil }
        do throws(Refusal) {
            rotateLog(start.logFile)
            let new = try Child.start(start.program, start.arguments, logFile: start.logFile)
            child = new
            state.withLock { $0.restarts += 1 }
            let deadline = Instant.now.advanced(byMs: Self.startTimeoutMs)
            while Instant.now < deadline && !isStopping {
                if let client = try? FrameClient(connectingTo: socketPath) { return client }
                if new.hasEnded() {
                    logger.error("\(name) ended as it started", metadata: ["log": "\(start.logFile)"])
                    return nil
                }
                usleep(2_000)
            }
            logger.error("\(name) does not start to serve", metadata: ["socket": "\(socketPath)"])
            Child.kill(new.pid)
        } catch {
            logger.error("\(name) cannot be started", metadata: ["error": "\(error.message)"])
        }
        return nil
    }

    /// Answers why the server is not to be counted on any more.
    private func waitForTrouble(_ client: FrameClient) -> String {
        while !isStopping {
            if client.waitForEnd(deadline: .now.advanced(byMs: Self.heartbeatMs)) {
                // Its socket is free once the process is gone for good.
                Child.kill(client.serverPID)
                return "it died"
            }
            // Whoever comes next could not reach it.
            if access(socketPath, F_OK) != 0 && errno == ENOENT && start != nil {
                Child.kill(client.serverPID)
                return "its socket was removed"
            }
            do throws(NodeError) {
                try client.call(Frame(.ping), timeoutMs: Self.silenceMs)
            } catch {
                if case .timedOut = error {
                    Child.kill(client.serverPID)
                    return "it did not answer for \(Self.silenceMs) ms and was killed"
                }
            }
        }
        return "stopping"
    }

    private func rotateLog(_ path: String) {
        var status = stat()
        if stat(path, &status) == 0 && status.st_size > Self.maxLogBytes { rename(path, path + ".1") }
    }
}
