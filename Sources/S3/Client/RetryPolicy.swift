/// What went wrong with one attempt of a request.
enum AttemptFailure: Error, Equatable {
    /// No answer, or not all of it: a reset, TLS, DNS, an early end.
    case network(String, isFinal: Bool)
    /// Nothing, or next to nothing, came for too long.
    case stalled
    /// An answer with an error's status.
    case status(ServerError)
    /// An answer that contradicts itself or the request.
    case badAnswer(String)
    /// Another version of the object than the one asked for.
    case changed
}

/// An answer with an error's status.
struct ServerError: Equatable {
    var status: Int
    /// S3's own code; "" where the answer has none, as that of a HEAD.
    var code = ""
    var message = ""
    /// Where the bucket is, if the answer says.
    var region: String?
    /// The server's clock less ours, in seconds.
    var clockOffset: Int64?
}

/// How failures are retried: full-jitter exponential backoff.
public struct RetryPolicy: Sendable {
    public var baseMs = 50
    public var capMs = 5_000
    /// Answers that make no sense are asked for again so often; overload and networks until the request's deadline.
    public var maxBadAnswers = 4
    public var maxRedirects = 3

    public init() {}

    /// A uniformly random wait up to the exponential bound, which spreads clients that failed together.
    /// https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    func backoffMs(failures: Int, random: Double) -> Int {
        let bound = min(Double(capMs), Double(baseMs) * Double(1 << min(failures, 20)))
        return Int((bound * random).rounded(.up))
    }
}

/// What a request does after an attempt failed.
enum Reaction: Equatable {
    case fail(S3Error)
    case retry(afterMs: Int)
    /// As `retry`, and everybody else slows down too.
    case slowDown(afterMs: Int)
    /// Once with other credentials, if there are any; else it fails so.
    case refreshCredentials(else: S3Error)
    case moveToRegion(String)
    /// Once with a corrected clock.
    case correctClock(offset: Int64)
}

/// A request's failures so far, and what follows from the next one.
struct RetryState {
    let policy: RetryPolicy
    let operation: OperationName
    private var failures = 0
    private var badAnswers = 0
    private var redirects = 0
    private var hasRefreshed = false
    private var hasCorrectedClock = false
    /// Clocks that differ by less are taken for equal; S3 accepts 15 minutes.
    static let clockToleranceSeconds: Int64 = 240

    init(_ policy: RetryPolicy, _ operation: OperationName) {
        self.policy = policy
        self.operation = operation
    }

    /// Bytes came, so waits begin small again.
    mutating func madeProgress() { failures = 0 }

    /// `random`: uniform in 0..<1.
    mutating func react(to failure: AttemptFailure, random: Double) -> Reaction {
        switch failure {
        case .changed: return .fail(.changed)
        case .network(let why, true): return .fail(.network(why))
        case .network, .stalled: return .retry(afterMs: backoff(random))
        case .badAnswer(let why):
            badAnswers += 1
            return badAnswers > policy.maxBadAnswers ? .fail(.badAnswer(why)) : .retry(afterMs: backoff(random))
        case .status(let error): return react(to: error, random)
        }
    }

    private mutating func react(to error: ServerError, _ random: Double) -> Reaction {
        if let region = error.region, (300..<500).contains(error.status), redirects < policy.maxRedirects {
            redirects += 1
            return .moveToRegion(region)
        }
        if isClockError(error), let offset = error.clockOffset, !hasCorrectedClock {
            hasCorrectedClock = true
            return .correctClock(offset: offset)
        }
        if isExpiry(error), !hasRefreshed {
            hasRefreshed = true
            return .refreshCredentials(else: S3Error(error, operation))
        }
        switch (error.status, error.code) {
        case (_, "SlowDown"), (429, _), (503, _), (_, "ThrottlingException"), (_, "RequestLimitExceeded"):
            return .slowDown(afterMs: backoff(random))
        case (501, _): return .fail(S3Error(error, operation))
        case (500..., _), (408, _), (_, "RequestTimeout"), (409, "OperationAborted"):
            return .retry(afterMs: backoff(random))
        default: return .fail(S3Error(error, operation))
        }
    }

    private mutating func backoff(_ random: Double) -> Int {
        defer { failures += 1 }
        return policy.backoffMs(failures: failures, random: random)
    }

    /// The answer to a HEAD has no code: 403 and clocks far apart will be it.
    private func isClockError(_ error: ServerError) -> Bool {
        if error.code == "RequestTimeTooSkewed" { return true }
        let isUnnamed = error.code.isEmpty && error.status == 403
        let isNamed =
            error.code == "AccessDenied" || error.code == "SignatureDoesNotMatch" || error.code == "RequestExpired"
        return (isUnnamed || isNamed) && abs(error.clockOffset ?? 0) > Self.clockToleranceSeconds
    }

    private func isExpiry(_ error: ServerError) -> Bool {
        switch error.code {
        case "ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired", "InvalidAccessKeyId",
            "RequestExpired":
            true
        // A HEAD's: S3 answers an expired token with a bare 400, others with 401 or 403.
        case "": error.status == 400 || error.status == 401 || error.status == 403
        default: false
        }
    }
}
