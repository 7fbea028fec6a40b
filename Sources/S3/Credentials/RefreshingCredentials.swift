import Threads

/// Credentials that are fetched when the first request needs them and again before they expire: one fetch for any
/// number of requests, none of which blocks a thread meanwhile.
public final class RefreshingCredentials: CredentialsSource {
    /// Calls back once, on any thread.
    public typealias Fetch =
        @Sendable (_ completion: @escaping @Sendable (Result<Credentials, S3Error>) -> Void) -> Void

    public let origin: String
    private let fetch: Fetch
    private let clock: @Sendable () -> Int64
    private let state = Locked(State())

    private struct State {
        var credentials = CredentialsState()
        var waiters: [@Sendable (Result<Credentials?, S3Error>) -> Void] = []
    }

    /// `clock`: seconds since 1970.
    public init(
        origin: String, clock: @escaping @Sendable () -> Int64 = WallClock.system, fetch: @escaping Fetch
    ) {
        self.origin = origin
        self.clock = clock
        self.fetch = fetch
    }

    public func credentials(_ completion: @escaping @Sendable (Result<Credentials?, S3Error>) -> Void) {
        let now = clock()
        let (answer, startsFetch) = state.withLock { state in
            let asked = state.credentials.ask(now: now)
            if asked.answer == .wait { state.waiters.append(completion) }
            return asked
        }
        switch answer {
        case .use(let credentials): completion(.success(credentials))
        case .fail(let error): completion(.failure(error))
        case .wait: break
        }
        if startsFetch { fetch { [self] in fetched($0) } }
    }

    public func refused(_ credentials: Credentials) -> Bool {
        let now = clock()
        return state.withLock { $0.credentials.refused(credentials, now: now) }
    }

    private func fetched(_ result: Result<Credentials, S3Error>) {
        let now = clock()
        let (outcome, waiters) = state.withLock { state in
            defer { state.waiters = [] }
            return (state.credentials.fetched(result, now: now), state.waiters)
        }
        for waiter in waiters { waiter(outcome.map { $0 }) }
    }
}
