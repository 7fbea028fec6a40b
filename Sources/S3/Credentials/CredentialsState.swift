/// When credentials are used, refreshed and waited for. A value, so that time and failures are the test's to choose.
/// Times are in seconds since 1970.
struct CredentialsState {
    enum Answer: Equatable {
        case use(Credentials)
        case fail(S3Error)
        /// Until the fetch that is under way has ended.
        case wait
    }

    private(set) var current: Credentials?
    private var isFetching = false
    /// The server did not take the current ones.
    private var isRefused = false
    private var fetchedAt: Int64 = 0
    private var failures = 0
    private var lastError = S3Error.credentials("none are to be had")
    private var retryNotBefore: Int64 = 0

    /// Credentials are not used in their last seconds, as a request takes its time too.
    static let marginSeconds: Int64 = 15
    /// They are refreshed so long before they expire, or in the last quarter of a short life.
    static let refreshSeconds: Int64 = 300

    /// What a request gets. `startsFetch`: the caller has to start a fetch now, and report its end.
    mutating func ask(now: Int64) -> (answer: Answer, startsFetch: Bool) {
        let usable = isRefused || isExpired(now) ? nil : current
        let startsFetch = (usable == nil || isDue(now)) && !isFetching && now >= retryNotBefore
        if startsFetch { isFetching = true }
        if let usable { return (.use(usable), startsFetch) }
        return (isFetching ? .wait : .fail(lastError), startsFetch)
    }

    /// The fetch has ended: what all who wait get.
    mutating func fetched(_ result: Result<Credentials, S3Error>, now: Int64) -> Result<Credentials, S3Error> {
        isFetching = false
        switch result {
        case .success(let new) where isRefused && new == current:
            // There are no others. They go on being used, as a refusal may be a passing one, or of one request (a HEAD
            // of a denied key answers a bare 403); whether they are still right is for the server to say.
            isRefused = false
            backOff(now)
            return .success(new)
        case .success(let new):
            current = new
            isRefused = false
            fetchedAt = now
            failures = 0
            retryNotBefore = 0
            return .success(new)
        case .failure(let error):
            return fail(error, now)
        }
    }

    /// The server refuses these as expired. True: there are others, or a fetch will tell.
    mutating func refused(_ credentials: Credentials, now: Int64) -> Bool {
        guard credentials == current else { return true }
        guard isFetching || now >= retryNotBefore else { return false }
        isRefused = true
        return true
    }

    private mutating func fail(_ error: S3Error, _ now: Int64) -> Result<Credentials, S3Error> {
        lastError = error
        backOff(now)
        return .failure(error)
    }

    /// 1, 2, 4, … 32 s: a source that is down, or has nothing new, is not asked for each request.
    private mutating func backOff(_ now: Int64) {
        retryNotBefore = now + Int64(1 << min(failures, 5))
        failures += 1
    }

    private func isExpired(_ now: Int64) -> Bool {
        guard let expires = current?.expires else { return false }
        return now >= expires - Self.marginSeconds
    }

    private func isDue(_ now: Int64) -> Bool {
        guard let expires = current?.expires else { return false }
        return now >= expires - min(Self.refreshSeconds, max(0, expires - fetchedAt) / 4)
    }
}
