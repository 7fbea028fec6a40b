import Kubernetes
import PrometheusMetrics
import Threads

/// Lets requests in: not too many at a time, not too many of one caller, and only of callers that Kubernetes knows.
final class Gatekeeper: Sendable {
    private let settings: APISettings
    private let authenticator: Authenticator
    private let limits: Locked<RateLimits>
    /// Of addresses that come with tokens nobody has asked about yet: each costs the API server a request.
    private let askingLimits: Locked<RateLimits>
    private let running = Locked(0)
    private let inFlight: Gauge

    init(settings: APISettings, authenticator: Authenticator, metrics: Registry) {
        self.settings = settings
        self.authenticator = authenticator
        limits = Locked(RateLimits(perSecond: settings.requestsPerSecond, burst: settings.burst))
        askingLimits = Locked(RateLimits(perSecond: settings.requestsPerSecond / 4, burst: settings.burst / 2))
        inFlight = metrics.gauge("millrace_api_requests_in_flight", "Requests that are being answered.")
    }

    /// Runs the body if there is room for one more request.
    func withRoom<T: Sendable>(
        _ body: () async throws(Problem) -> T
    ) async throws(Problem) -> T {
        let hasRoom = running.withLock { running in
            guard running < settings.mostRequests else { return false }
            running += 1
            return true
        }
        guard hasRoom else {
            throw Problem(503, "Busy", "too many requests are being answered; come again", retryAfterSeconds: 1)
        }
        inFlight.add(1)
        defer {
            inFlight.add(-1)
            running.withLock { $0 -= 1 }
        }
        return try await body()
    }

    /// - Parameters:
    ///   - authorization: the header, if there was one.
    ///   - address: of the other side, without its port.
    func admit(authorization: String?, address: String, isCompat: Bool) async throws(Problem) -> Caller {
        let caller = try await identify(authorization, address, isCompat)
        if let waitMs = limits.withLock({ $0.take(caller.username ?? "", now: .now) }) {
            throw Self.tooMany("requests of \(caller.username ?? "this caller")", waitMs)
        }
        return caller
    }

    private func identify(_ authorization: String?, _ address: String, _ isCompat: Bool) async throws(Problem) -> Caller
    {
        guard let authorization else {
            guard isCompat, let user = settings.compatUser else {
                throw Problem(401, "Unauthorized", "a token is needed: Authorization: Bearer TOKEN")
            }
            return Caller(username: user, groups: Self.groups(of: user))
        }
        let parts = authorization.split(separator: " ", maxSplits: 1)
        guard parts.count == 2, parts[0].lowercased() == "bearer", (1...16_384).contains(parts[1].utf8.count) else {
            throw Problem(401, "Unauthorized", "the Authorization header must be: Bearer TOKEN")
        }
        let token = String(parts[1])
        var found = authenticator.known(token)
        if found == nil {
            if let waitMs = askingLimits.withLock({ $0.take(address, now: .now) }) {
                throw Self.tooMany("new tokens from \(address)", waitMs)
            }
            found = .some(try await authenticator.ask(token))
        }
        guard case .some(.some(let caller)) = found else {
            throw Problem(401, "Unauthorized", "the token isn't one that Kubernetes takes; get a fresh one")
        }
        return caller
    }

    /// The groups that a service account is in without anybody saying so.
    static func groups(of user: String) -> [String] {
        let parts = user.split(separator: ":")
        guard parts.count == 4, parts[0] == "system", parts[1] == "serviceaccount" else {
            return ["system:authenticated"]
        }
        return ["system:serviceaccounts", "system:serviceaccounts:\(parts[2])", "system:authenticated"]
    }

    private static func tooMany(_ what: String, _ waitMs: Int) -> Problem {
        Problem(
            429, "TooManyRequests", "too many \(what); slow down", retryAfterSeconds: max(1, (waitMs + 999) / 1000))
    }
}
