import Threads

/// How many requests may be under way: all that the configuration allows, until the server says SlowDown. Then half of
/// them after a pause, and one more for each full round that went well (as TCP does).
struct Throttle {
    let maximum: Int
    private(set) var limit: Int
    private(set) var pausedUntil: Instant?
    private var successes = 0

    init(maximum: Int) {
        self.maximum = max(1, maximum)
        limit = self.maximum
    }

    mutating func slowDown(now: Instant, pauseMs: Int) {
        // Answers to requests that were under way already say the same thing once more.
        if let pausedUntil, now < pausedUntil { return }
        limit = max(1, limit / 2)
        successes = 0
        pausedUntil = now.advanced(byMs: pauseMs)
    }

    mutating func succeeded() {
        guard limit < maximum else { return }
        successes += 1
        if successes >= limit {
            successes = 0
            limit += 1
        }
    }

    /// Nil: go; else wait until then, or until a request has ended.
    func admits(active: Int, now: Instant) -> Admission {
        if let pausedUntil, now < pausedUntil { return .pausedUntil(pausedUntil) }
        return active < limit ? .go : .full
    }

    enum Admission: Equatable {
        case go, full
        case pausedUntil(Instant)
    }
}

/// A bound on how much is sent twice: retries never outgrow a share of what succeeds, plus a steady trickle.
///
/// A retry that finds no token waits for one rather than fail: its own deadline ends it.
struct RetryBudget {
    /// Tokens for each second and for each success; most that are saved up.
    static let perSecond = 20.0
    static let perSuccess = 0.2
    static let capacity = 200.0
    /// No retry waits longer than 5 s for its token, so that all go on soon after a storm.
    static let maxDebt = 100.0

    private var tokens = Self.capacity
    private var last: Instant

    init(now: Instant) { last = now }

    mutating func succeeded() { tokens = min(Self.capacity, tokens + Self.perSuccess) }

    /// Takes a token; the wait in ms until it is there.
    mutating func take(now: Instant) -> Int {
        tokens = min(Self.capacity, tokens + now.ms(since: last) / 1000 * Self.perSecond)
        last = max(last, now)
        tokens = max(tokens - 1, -Self.maxDebt)
        return tokens >= 0 ? 0 : Int((-tokens / Self.perSecond * 1000).rounded(.up))
    }
}

/// One hedge for each twenty requests, so that a slow server is not asked twice for everything.
struct HedgeBudget {
    private var credit = 2.0
    private static let share = 0.05
    private static let capacity = 20.0

    mutating func requestSent() { credit = min(Self.capacity, credit + Self.share) }

    mutating func take() -> Bool {
        guard credit >= 1 else { return false }
        credit -= 1
        return true
    }
}
