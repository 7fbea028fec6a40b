import GRPCCore
import Threads

/// Threads for calls that block: system calls, and the engine's answers. Swift's own pool has two threads here, which
/// must never wait.
final class BlockingPool: Sendable {
    /// A caller beyond this is refused: it tries again, and the threads are not all stuck behind one bucket.
    static let maxQueued = 1_024

    private let lock = Lock()
    private let ready: Condition
    private let state = State()

    /// Under `lock`.
    private final class State: @unchecked Sendable {
        var queue: [@Sendable () -> Void] = []
        var idle = 0
        var threads = 0
    }
    private let maxThreads: Int
    private let name: String

    init(_ name: String, maxThreads: Int) {
        self.name = name
        self.maxThreads = maxThreads
        ready = Condition(lock)
    }

    func run<Value: Sendable>(_ body: @escaping @Sendable () throws(Refusal) -> Value) async throws -> Value {
        let result: Result<Value, Refusal> = await withCheckedContinuation { continuation in
            let isTaken = submit {
                do throws(Refusal) {
                    continuation.resume(returning: .success(try body()))
                } catch {
                    continuation.resume(returning: .failure(error))
                }
            }
            if !isTaken {
                continuation.resume(returning: .failure(Refusal(.resourceExhausted, "too many calls are under way")))
            }
        }
        switch result {
        case .success(let value): return value
        case .failure(let refusal): throw refusal.rpcError
        }
    }

    private func submit(_ job: @escaping @Sendable () -> Void) -> Bool {
        let startsThread: Bool? = lock.withLock {
            guard state.queue.count < Self.maxQueued else { return nil }
            state.queue.append(job)
            if state.idle >= state.queue.count || state.threads >= maxThreads {
                ready.signal()
                return false
            }
            state.threads += 1
            return true
        }
        if startsThread == true { _ = Thread(name) { [self] in work() } }
        return startsThread != nil
    }

    private func work() {
        while true {
            let job: (@Sendable () -> Void)? = lock.withLock {
                state.idle += 1
                defer { state.idle -= 1 }
                let deadline = Instant.now.advanced(byMs: 10_000)
                while state.queue.isEmpty {
                    if !ready.wait(until: deadline) && state.queue.isEmpty {
                        state.threads -= 1
                        return nil
                    }
                }
                return state.queue.removeFirst()
            }
            guard let job else { return }
            job()
        }
    }
}
