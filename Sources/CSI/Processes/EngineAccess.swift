import Glibc
import NodeProtocol
import SystemPackage
import Threads

/// Calls to the engine, each on a connection of its own: one that waits for a bucket holds up no other.
struct EngineAccess: Sendable {
    let path: String

    /// A call that may be repeated: it outlasts a restart of the engine, within its time.
    func call<Value>(
        _ what: String, timeoutMs: Int, _ body: (EngineClient, Int) throws(NodeError) -> Value
    ) throws(Refusal) -> Value {
        try attempt(what, timeoutMs, mayRepeat: true, body)
    }

    /// A call that must not reach an engine twice; only the way to it is tried again.
    func callOnce<Value>(
        _ what: String, timeoutMs: Int, _ body: (EngineClient, Int) throws(NodeError) -> Value
    ) throws(Refusal) -> Value {
        try attempt(what, timeoutMs, mayRepeat: false, body)
    }

    private func attempt<Value>(
        _ what: String, _ timeoutMs: Int, mayRepeat: Bool, _ body: (EngineClient, Int) throws(NodeError) -> Value
    ) throws(Refusal) -> Value {
        let deadline = Instant.now.advanced(byMs: timeoutMs)
        var pauseMs = 10.0
        while true {
            let left = Int(deadline.ms(since: .now))
            var isConnected = false
            do throws(NodeError) {
                let client = try EngineClient(path: path)
                isConnected = true
                return try body(client, max(1, left))
            } catch {
                let isAway: Bool =
                    switch error {
                    case .closed: !isConnected || mayRepeat
                    case .timedOut, .system: !isConnected
                    case .malformed, .refused: false
                    }
                guard isAway, Instant.now.advanced(byMs: Int(pauseMs)) < deadline else {
                    if case .system = error, !isConnected {
                        throw Refusal(
                            .unavailable, "\(what): the engine is not running; it is being started, try again")
                    }
                    throw Refusal(error, what)
                }
                usleep(UInt32(pauseMs * Double.random(in: 500...1_000)))
                pauseMs = min(pauseMs * 2, 200)
            }
        }
    }
}
