import PrometheusMetrics
import Threads

/// Keys that wait to be worked on. A key waits at most once; while one worker has it, no other gets it, and what is
/// added meanwhile comes after. Failures come back later, and later each time. No clock of its own.
struct WorkQueueState<Key: Hashable & Sendable> {
    enum Next: Equatable {
        case key(Key)
        case waitUntil(Instant)
        case idle
    }

    private var ready: [Key] = []
    private var head = 0
    private var waiting: Set<Key> = []
    private var working: [Key: Instant] = [:]
    private var again: Set<Key> = []
    private var delayed: [Key: Instant] = [:]
    private var failures: [Key: Int] = [:]

    var depth: Int { ready.count - head }
    var underWay: Int { working.count }
    var later: Int { delayed.count }
    /// When the work that has been under way longest began.
    var oldestStart: Instant? { working.values.min() }

    mutating func add(_ key: Key) {
        delayed[key] = nil
        guard !waiting.contains(key) else { return }
        if working[key] != nil {
            again.insert(key)
        } else {
            waiting.insert(key)
            ready.append(key)
        }
    }

    /// Adds it once `due` has come; the earlier of two wins.
    mutating func add(_ key: Key, at due: Instant) {
        guard !waiting.contains(key), !again.contains(key) else { return }
        if let known = delayed[key], known <= due { return }
        delayed[key] = due
    }

    mutating func take(now: Instant) -> Next {
        if head == ready.count {
            for (key, due) in delayed where due <= now { add(key) }
        }
        guard head < ready.count else {
            return delayed.values.min().map { .waitUntil($0) } ?? .idle
        }
        let key = ready[head]
        head += 1
        if head > 1024 && head * 2 > ready.count {
            ready.removeFirst(head)
            head = 0
        }
        waiting.remove(key)
        working[key] = now
        return .key(key)
    }

    /// The work on a key is over. Failed work comes back after a jittered backoff.
    mutating func done(
        _ key: Key, _ outcome: WorkOutcome, now: Instant, using random: inout some RandomNumberGenerator
    ) {
        guard working.removeValue(forKey: key) != nil else { return }
        switch outcome {
        case .done:
            failures[key] = nil
        case .again(let ms):
            failures[key] = nil
            add(key, at: now.advanced(byMs: ms))
        case .failed(let atLeastMs):
            let count = (failures[key] ?? 0) + 1
            failures[key] = count
            let backoff = Backoff.delayMs(failures: count, baseMs: 100, mostMs: 300_000, using: &random)
            add(key, at: now.advanced(byMs: max(backoff, atLeastMs)))
        }
        if again.remove(key) != nil { add(key) }
    }
}

public enum WorkOutcome: Sendable, Equatable {
    case done
    /// All is well; look again after so many milliseconds.
    case again(afterMs: Int)
    /// Come back after a backoff that grows, at least so many milliseconds.
    case failed(atLeastMs: Int = 0)
}

public struct QueueHealth: Sendable {
    public var depth: Int
    public var underWay: Int
    public var later: Int
    /// How long the work that has been under way longest has been so.
    public var longestMs: Double
}

/// A deduplicating, rate-limited queue that any number of workers take keys from.
public actor WorkQueue<Key: Hashable & Sendable> {
    private var state = WorkQueueState<Key>()
    private var sleepers: [CheckedContinuation<Key?, Never>] = []
    private var alarm: (due: Instant, task: Task<Void, Never>)?
    private var isClosed = false
    private var random = SystemRandomNumberGenerator()

    public init() {}

    public func add(_ key: Key) {
        state.add(key)
        hand()
    }

    public func add(_ keys: some Collection<Key> & Sendable) {
        for key in keys { state.add(key) }
        hand()
    }

    public func add(_ key: Key, afterMs ms: Int) {
        state.add(key, at: Instant.now.advanced(byMs: ms))
        hand()
    }

    /// The next key, once there is one; nil after `close()`. Say `done` afterwards, whatever happened.
    public func next() async -> Key? {
        if isClosed { return nil }
        return await withCheckedContinuation { continuation in
            sleepers.append(continuation)
            hand()
        }
    }

    public func done(_ key: Key, _ outcome: WorkOutcome) {
        state.done(key, outcome, now: .now, using: &random)
        hand()
    }

    /// Workers get nil from now on.
    public func close() {
        isClosed = true
        alarm?.task.cancel()
        for sleeper in sleepers { sleeper.resume(returning: nil) }
        sleepers = []
    }

    public var health: QueueHealth {
        let now = Instant.now
        return QueueHealth(
            depth: state.depth, underWay: state.underWay, later: state.later,
            longestMs: state.oldestStart.map { now.ms(since: $0) } ?? 0)
    }

    private func hand() {
        while !sleepers.isEmpty {
            switch state.take(now: .now) {
            case .key(let key):
                sleepers.removeFirst().resume(returning: key)
            case .waitUntil(let due):
                ring(at: due)
                return
            case .idle:
                return
            }
        }
    }

    private func ring(at due: Instant) {
        if let alarm, alarm.due <= due { return }
        alarm?.task.cancel()
        let ms = max(1, Int(due.ms(since: .now).rounded(.up)))
        alarm = (
            due,
            Task { [weak self] in
                try? await Task.sleep(for: .milliseconds(ms))
                if !Task.isCancelled { await self?.rang() }
            }
        )
    }

    private func rang() {
        alarm = nil
        hand()
    }
}
