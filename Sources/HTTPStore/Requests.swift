import Threads

/// Lets so many run at a time; the others wait in line.
final class Gate: @unchecked Sendable {
    private let lock = Lock()
    private var free: Int
    private var waiting: [@Sendable () -> Void] = []

    init(_ count: Int) { free = count }

    /// Runs `body` now or once another has left. Each calls `leave` once.
    func enter(_ body: @escaping @Sendable () -> Void) {
        let goes = lock.withLock {
            if free > 0 {
                free -= 1
                return true
            }
            waiting.append(body)
            return false
        }
        if goes { body() }
    }

    func leave() {
        let next: (@Sendable () -> Void)? = lock.withLock {
            if !waiting.isEmpty { return waiting.removeFirst() }
            free += 1
            return nil
        }
        next?()
    }
}

/// What is asked for once however many want it, and kept for a while.
final class SharedAnswers<Key: Hashable & Sendable, Value: Sendable>: @unchecked Sendable {
    typealias Waiter = @Sendable (Value) -> Void

    private struct Entry {
        var value: Value?
        var since: Instant
        var waiting: [Waiter] = []
    }

    private let lock = Lock()
    private var entries: [Key: Entry] = [:]
    private let ttlMs: Int
    private let limit: Int

    init(ttlMs: Int, limit: Int) {
        self.ttlMs = ttlMs
        self.limit = limit
    }

    /// - Parameters:
    ///   - fetch: called where nobody knows or asks; gives the value once.
    ///   - keeps: whether a value may be given to those who ask later.
    func value(
        _ key: Key, keeps: @escaping @Sendable (Value) -> Bool, fetch: (@escaping Waiter) -> Void,
        _ waiter: @escaping Waiter
    ) {
        let now = Instant.now
        let (known, isFirst) = lock.withLock { () -> (Value?, Bool) in
            if let entry = entries[key], let value = entry.value, now.ms(since: entry.since) < Double(ttlMs) {
                return (value, false)
            }
            if entries[key] != nil, entries[key]!.value == nil {
                entries[key]!.waiting.append(waiter)
                return (nil, false)
            }
            if entries.count >= limit { entries = entries.filter { $0.value.value == nil } }
            entries[key] = Entry(value: nil, since: now, waiting: [waiter])
            return (nil, true)
        }
        if let known { return waiter(known) }
        guard isFirst else { return }
        fetch { [self] value in
            let waiters = lock.withLock {
                let waiters = entries[key]?.waiting ?? []
                entries[key] = keeps(value) ? Entry(value: value, since: .now) : nil
                return waiters
            }
            for waiter in waiters { waiter(value) }
        }
    }
}
