import Kubernetes
import Threads

/// Creations that go on after their answer, and how those ended that failed. It is this replica's memory alone: a claim
/// that is made is seen by all, and of one that isn't nothing is left.
final class Background: Sendable {
    enum State: Sendable, Equatable {
        case running
        case failed(Problem)
    }

    static let mostFailures = 1024

    private struct Table {
        var states: [ObjectKey: State] = [:]
        var tasks: [ObjectKey: Task<Void, Never>] = [:]
        var failures: [ObjectKey] = []
    }

    private let most: Int
    private let table = Locked(Table())

    init(most: Int) { self.most = most }

    func start(_ key: ObjectKey, _ work: @escaping @Sendable () async throws(Problem) -> Void) throws(Problem) {
        try table.withLock { table throws(Problem) in
            guard table.tasks[key] == nil else {
                throw Problem.conflict("AlreadyExists", "claim \(key) is being made")
            }
            guard table.tasks.count < most else {
                throw Problem(503, "Busy", "too many claims are being made; come again", retryAfterSeconds: 5)
            }
            table.states[key] = .running
            table.tasks[key] = Task { [self] in
                var failure: Problem?
                do throws(Problem) { try await work() } catch { failure = error }
                ended(key, failure)
            }
        }
    }

    private func ended(_ key: ObjectKey, _ failure: Problem?) {
        table.withLock { table in
            table.tasks[key] = nil
            table.states[key] = failure.map { .failed($0) }
            guard failure != nil else { return }
            table.failures.removeAll { $0 == key }
            table.failures.append(key)
            if table.failures.count > Self.mostFailures {
                let oldest = table.failures.removeFirst()
                if table.tasks[oldest] == nil { table.states[oldest] = nil }
            }
        }
    }

    func state(of key: ObjectKey) -> State? { table.withLock { $0.states[key] } }

    /// Nobody asks any more how it ended.
    func forget(_ key: ObjectKey) {
        table.withLock { table in
            guard table.tasks[key] == nil else { return }
            table.states[key] = nil
            table.failures.removeAll { $0 == key }
        }
    }

    /// Waits for all that is under way; each step of it has a limit of its own.
    func finish() async {
        for task in table.withLock({ Array($0.tasks.values) }) { await task.value }
    }
}
