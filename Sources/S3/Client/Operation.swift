import CCurl
import Curl
import Threads

/// A request of the client from call to completion: its place in the queue, its attempts, its retries and its deadline.
/// Subclasses say what is sent and what an answer means. Confined to its lane's thread but for `submit`, `cancel` and
/// `raise`.
class Operation: TransferWork, @unchecked Sendable {
    let name: OperationName
    let client: S3Client
    let lane: Lane
    private(set) var priority: Priority
    /// The queue it waits in; the queue's own.
    var queuedAt: Priority?

    private(set) var attempts: [Attempt] = []
    private var retry: RetryState
    private var deadline: Timer?
    /// When the first attempt began, or the last byte for the caller came; nil: still waiting for a place.
    var lastActivity: Instant?
    private var pause: Timer?
    private var watch: Timer?
    private var watchedBytes: UInt64 = 0
    private var attemptCount = 0
    private var holdsPlace = false
    private(set) var isOver = false
    private var lastFailure: AttemptFailure?

    init(_ name: OperationName, _ client: S3Client, _ lane: Lane, _ priority: Priority) {
        self.name = name
        self.client = client
        self.lane = lane
        self.priority = priority
        retry = RetryState(client.configuration.retry, name)
    }

    // MARK: What subclasses say

    /// The request as the next attempt sends it.
    func makeRequest() -> OutgoingRequest { fatalError("a subclass says what is sent") }
    /// The head of any answer.
    func sawHead(_ head: ResponseHead) {}
    /// Looks at the head of a 2xx answer; nil: its body is welcome.
    func check(_ attempt: Attempt) -> AttemptFailure? { nil }
    /// The next bytes of an accepted body; false ends the attempt.
    func received(_ bytes: UnsafeRawBufferPointer, _ attempt: Attempt) -> Bool { true }
    /// An accepted answer is over; `failure` is the transfer's own. Nil: the operation has succeeded.
    func concluded(_ attempt: Attempt, _ failure: AttemptFailure?) -> AttemptFailure? { failure }
    /// The last call: tell the caller. Nil: success.
    func ended(_ error: S3Error?) {}
    var timeoutMs: Int { client.configuration.requestTimeoutMs }
    /// An attempt of which nothing has come for so long is started anew.
    var stallTimeoutMs: Int { client.configuration.stallTimeoutMs }
    var canHedge: Bool { false }

    // MARK: From any thread

    func submit() {
        lane.began()
        let now = Instant.now
        let first = now.advanced(byMs: min(timeoutMs, client.configuration.requestTimeoutMs))
        let last = now.advanced(byMs: timeoutMs)
        let isAccepted = lane.thread.perform { [self] in
            if isOver { return }
            lane.thread.began(self)
            expect(progressBy: first, endBy: last)
            lane.enqueue(self)
        }
        if !isAccepted {
            isOver = true
            lane.ended()
            ended(.cancelled)
        }
    }

    func threadStops() { end(.failure(.cancelled)) }

    func cancel() {
        lane.thread.perform { [self] in end(.failure(.cancelled)) }
    }

    func raise(to priority: Priority) {
        lane.thread.perform { [self] in
            guard !isOver, priority < self.priority else { return }
            self.priority = priority
            lane.reprioritise(self)
        }
    }

    // MARK: Attempts

    /// Its turn: the lane has counted it as active.
    func start() {
        holdsPlace = true
        let thread = lane.thread
        client.configuration.credentials.credentials { [self] result in
            // Known credentials come at once, on the thread; others later from elsewhere.
            if thread.isCurrent { begin(result) } else { thread.perform { [self] in begin(result) } }
        }
    }

    private func begin(_ credentials: Result<Credentials?, S3Error>) {
        guard !isOver else { return }
        switch credentials {
        case .failure(let error): end(.failure(error))
        case .success(let credentials): send(credentials, isHedge: false)
        }
    }

    private func send(_ credentials: Credentials?, isHedge: Bool) {
        let easy = lane.thread.takeEasy()
        makeRequest().apply(to: easy, client, credentials)
        let attempt = Attempt(self, easy, credentials, isHedge: isHedge)
        attempts.append(attempt)
        attemptCount += 1
        lastActivity = lastActivity ?? attempt.started
        if attemptCount > 1 && !isHedge { client.metrics.retried(name) }
        client.metrics.active.add(1)
        lane.thread.add(easy, attempt)
        if isHedge {
            lane.takePlace()
            client.metrics.hedges.add()
        } else {
            client.withBudgets { $0.hedge.requestSent() }
            watchedBytes = 0
            watchProgress(mayHedge: canHedge && client.configuration.hedges)
        }
    }

    /// An attempt's answer is good: a rival that has none yet is not needed.
    func accepted(_ attempt: Attempt) {
        if attempt.isHedge { client.metrics.hedgesWon.add() }
        guard attempts.count > 1 else { return }
        for rival in attempts where rival !== attempt { rival.isAbandoned = true }
        // Curl is in a callback here, where no transfer may be removed.
        lane.thread.perform { [self] in dropAbandoned() }
    }

    func finished(_ attempt: Attempt, _ code: CURLcode) {
        var failure = attempt.outcome(code)
        if attempt.isAccepted { failure = concluded(attempt, failure) }
        let bytes = attempt.received
        drop(attempt)
        guard let failure else {
            lane.succeeded()
            client.withBudgets { $0.retry.succeeded() }
            return end(.success(()))
        }
        failed(failure, credentials: attempt.credentials, bytes: attempt.isAccepted ? bytes : 0)
    }

    private func failed(_ failure: AttemptFailure, credentials: Credentials?, bytes: UInt64) {
        client.metrics.failed(name, code: failure.code)
        lastFailure = failure
        if bytes > 0 { retry.madeProgress() }
        let reaction = retry.react(to: failure, random: .random(in: 0..<1))
        client.logger.debug(
            "attempt failed",
            metadata: ["operation": "\(name.rawValue)", "failure": "\(failure)", "reaction": "\(reaction)"])
        // The rival may yet succeed, unless the answer is final for both.
        if !attempts.isEmpty {
            if case .fail(let error) = reaction { end(.failure(error)) }
            return
        }
        switch reaction {
        case .fail(let error): end(.failure(error))
        case .retry(let ms): resume(afterMs: ms)
        case .slowDown(let ms):
            lane.slowDown(pauseMs: ms)
            resume(afterMs: ms)
        case .refreshCredentials(let error):
            guard let credentials, isWorthRefreshing(credentials, failure),
                client.configuration.credentials.refused(credentials)
            else { return end(.failure(error)) }
            resume(afterMs: 0)
        case .moveToRegion(let region):
            client.moveToRegion(region)
            resume(afterMs: 0)
        case .correctClock(let offset):
            client.correctClock(offset)
            resume(afterMs: 0)
        }
    }

    /// An answer without a code, to a HEAD, may say anything: only credentials that do expire are suspected.
    private func isWorthRefreshing(_ credentials: Credentials, _ failure: AttemptFailure) -> Bool {
        if case .status(let error) = failure, error.code.isEmpty {
            return credentials.expires != nil || credentials.sessionToken != nil
        }
        return true
    }

    /// Waits without a place in the lane, then goes to the front of the queue.
    private func resume(afterMs ms: Int) {
        let budgetMs = client.withBudgets { $0.retry.take(now: .now) }
        releasePlace()
        pause = lane.thread.at(Instant.now.advanced(byMs: max(ms, budgetMs))) { [self] in
            pause = nil
            lane.enqueue(self, isRetry: true)
        }
    }

    private func releasePlace() {
        if let watch { lane.thread.cancel(watch) }
        watch = nil
        guard holdsPlace else { return }
        holdsPlace = false
        lane.release()
    }

    // MARK: Slow answers

    /// First for a hedge, then for stalls.
    private func watchProgress(mayHedge: Bool) {
        let stallMs = stallTimeoutMs
        let waitMs = mayHedge ? min(client.hedgeAfterMs, stallMs) : stallMs
        watch = lane.thread.at(Instant.now.advanced(byMs: waitMs)) { [self] in
            watch = nil
            if mayHedge { hedge() } else { checkProgress() }
        }
    }

    private func hedge() {
        if let only = attempts.first, attempts.count == 1, !only.isAccepted, !only.head.isComplete, priority == .demand,
            client.withBudgets({ $0.hedge.take() })
        {
            send(only.credentials, isHedge: true)
        }
        watchProgress(mayHedge: false)
    }

    private func checkProgress() {
        let bytes = attempts.reduce(0) { $0 + $1.received }
        let stallMs = stallTimeoutMs
        let expected = UInt64(client.configuration.minBytesPerSecond * stallMs / 1000)
        guard let attempt = attempts.first else { return }
        if bytes >= watchedBytes + expected {
            watchedBytes = bytes
            return watchProgress(mayHedge: false)
        }
        let credentials = attempt.credentials
        for attempt in attempts { abandon(attempt) }
        failed(.stalled, credentials: credentials, bytes: bytes > 0 ? 1 : 0)
    }

    // MARK: The end

    private func dropAbandoned() {
        for attempt in attempts where attempt.isAbandoned { abandon(attempt) }
    }

    private func abandon(_ attempt: Attempt) {
        attempt.isAbandoned = true
        lane.thread.remove(attempt.easy)
        drop(attempt)
    }

    /// The attempt does not run any more.
    private func drop(_ attempt: Attempt) {
        attempts.removeAll { $0 === attempt }
        lane.thread.giveBack(attempt.easy)
        client.metrics.active.add(-1)
        // The operation's own place stays; a hedge's goes with whichever ends first.
        if !attempts.isEmpty { lane.release() }
    }

    /// Ends the operation at `last`, and before where nothing came for as long as a whole request may take: a long read of
    /// a server that is gone must not wait for the time that all its bytes were given.
    private func expect(progressBy next: Instant, endBy last: Instant) {
        deadline = lane.thread.at(next) { [self] in
            let patience = (lastActivity ?? .now).advanced(byMs: client.configuration.requestTimeoutMs)
            let next = min(last, patience)
            if next > .now { expect(progressBy: next, endBy: last) } else { end(.failure(deadlineError)) }
        }
    }

    private var deadlineError: S3Error {
        switch lastFailure {
        case .status(let error): S3Error(error, name)
        case .network(let why, _): .network(why)
        case .badAnswer(let why): .badAnswer(why)
        case .stalled, .changed, nil: .timedOut
        }
    }

    private func end(_ result: Result<Void, S3Error>) {
        guard !isOver else { return }
        isOver = true
        for attempt in attempts { abandon(attempt) }
        if let deadline { lane.thread.cancel(deadline) }
        if let pause { lane.thread.cancel(pause) }
        lane.dequeue(self)
        lane.thread.finished(self)
        lane.ended()
        releasePlace()
        if case .failure(let error) = result { ended(error) } else { ended(nil) }
    }
}

extension AttemptFailure {
    /// For metrics: S3's own code, or a word.
    var code: String {
        switch self {
        case .network: "network"
        case .stalled: "stalled"
        case .status(let error): error.code.isEmpty ? String(error.status) : String(error.code.prefix(64))
        case .badAnswer: "bad_answer"
        case .changed: "changed"
        }
    }
}
