import Testing
import Threads

@testable import S3

/// Decisions about retries, as values.
@Suite struct RetryTests {
    private func react(
        _ status: Int, _ code: String, region: String? = nil, offset: Int64? = nil, on operation: OperationName = .get
    ) -> Reaction {
        var state = RetryState(RetryPolicy(), operation)
        return state.react(
            to: .status(ServerError(status: status, code: code, message: "m", region: region, clockOffset: offset)),
            random: 0.5)
    }

    @Test func answersAreToldApart() {
        #expect(react(500, "InternalError") == .retry(afterMs: 25))
        #expect(react(400, "RequestTimeout") == .retry(afterMs: 25))
        #expect(react(503, "SlowDown") == .slowDown(afterMs: 25))
        #expect(react(503, "") == .slowDown(afterMs: 25))
        #expect(react(429, "") == .slowDown(afterMs: 25))
        #expect(react(501, "NotImplemented") == .fail(.status(501, code: "NotImplemented", message: "m")))
        #expect(react(404, "NoSuchKey") == .fail(.noSuchKey))
        #expect(react(404, "", on: .head) == .fail(.noSuchKey))
        #expect(react(404, "", on: .list) == .fail(.noSuchBucket))
        #expect(react(404, "NoSuchBucket") == .fail(.noSuchBucket))
        #expect(react(412, "PreconditionFailed") == .fail(.changed))
        #expect(react(403, "InvalidObjectState") == .fail(.archived))
        #expect(react(403, "AccessDenied") == .fail(.denied(code: "AccessDenied", message: "m")))
        #expect(react(403, "AccessDenied", offset: 10) == .fail(.denied(code: "AccessDenied", message: "m")))
        #expect(react(403, "SignatureDoesNotMatch", offset: -900) == .correctClock(offset: -900))
        #expect(react(403, "RequestTimeTooSkewed", offset: 1) == .correctClock(offset: 1))
        #expect(react(403, "", offset: 5000, on: .head) == .correctClock(offset: 5000))
        #expect(react(301, "PermanentRedirect", region: "r") == .moveToRegion("r"))
        #expect(react(400, "AuthorizationHeaderMalformed", region: "r") == .moveToRegion("r"))
        #expect(react(500, "InternalError", region: "r") == .retry(afterMs: 25))
        let denied = S3Error.denied(code: "ExpiredToken", message: "m")
        #expect(react(400, "ExpiredToken") == .refreshCredentials(else: denied))
        guard case .refreshCredentials = react(400, "", on: .head) else {
            Issue.record("S3 answers HEAD with a bare 400 where the token has expired")
            return
        }
    }

    @Test func whatIsDoneOnceIsDoneOnce() {
        var state = RetryState(RetryPolicy(), .get)
        let expired = AttemptFailure.status(ServerError(status: 400, code: "ExpiredToken"))
        let skewed = AttemptFailure.status(ServerError(status: 403, code: "RequestTimeTooSkewed", clockOffset: 999))
        _ = state.react(to: expired, random: 0)
        _ = state.react(to: skewed, random: 0)
        expect(reaction(&state, expired), .fail(.denied(code: "ExpiredToken", message: "")))
        expect(reaction(&state, skewed), .fail(.denied(code: "RequestTimeTooSkewed", message: "")))
        let moved = AttemptFailure.status(ServerError(status: 301, code: "PermanentRedirect", region: "r"))
        for _ in 0..<3 { expect(reaction(&state, moved), .moveToRegion("r")) }
        guard case .fail(.status(301, _, _)) = reaction(&state, moved) else {
            Issue.record("a redirect loop goes on")
            return
        }
    }

    private func reaction(_ state: inout RetryState, _ failure: AttemptFailure) -> Reaction {
        state.react(to: failure, random: 0.5)
    }

    @Test func waitsGrowToTheirCapAndBeginAnewAfterProgress() {
        var state = RetryState(RetryPolicy(), .get)
        var waits: [Int] = []
        for _ in 0..<10 {
            if case .retry(let ms) = state.react(to: .stalled, random: 1.0.nextDown) { waits.append(ms) }
        }
        #expect(waits == [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000])
        state.madeProgress()
        expect(reaction(&state, .network("x", isFinal: false)), .retry(afterMs: 25))
        expect(reaction(&state, .network("x", isFinal: true)), .fail(.network("x")))
        var zero = RetryState(RetryPolicy(), .get)
        let none = zero.react(to: .stalled, random: 0)
        #expect(none == .retry(afterMs: 0))
    }

    @Test func answersThatMakeNoSenseAreAskedForAFewTimes() {
        var state = RetryState(RetryPolicy(), .get)
        var retries = 0
        while case .retry = reaction(&state, .badAnswer("x")) { retries += 1 }
        #expect(retries == 4)
    }

    @Test func slowDownHalvesWhatIsUnderWayAndItGrowsAgain() {
        var throttle = Throttle(maximum: 16)
        let start = Instant(nanoseconds: 1_000_000_000)
        func at(_ ms: Int) -> Instant { start.advanced(byMs: ms) }
        throttle.slowDown(now: at(0), pauseMs: 100)
        throttle.slowDown(now: at(50), pauseMs: 100)  // The same storm.
        #expect(throttle.limit == 8)
        #expect(throttle.admits(active: 0, now: at(99)) == .pausedUntil(at(100)))
        #expect(throttle.admits(active: 7, now: at(100)) == .go)
        #expect(throttle.admits(active: 8, now: at(100)) == .full)
        for _ in 0..<8 { throttle.succeeded() }
        #expect(throttle.limit == 9)
        for _ in 0..<1000 { throttle.succeeded() }
        #expect(throttle.limit == 16)
        for i in 1...20 { throttle.slowDown(now: at(i * 1000), pauseMs: 1) }
        #expect(throttle.limit == 1)
    }

    @Test func retriesAreBoundedByTimeAndSuccesses() {
        let start = Instant(nanoseconds: 1_000_000_000)
        var budget = RetryBudget(now: start)
        var free = 0
        while budget.take(now: start) == 0 { free += 1 }
        #expect(free == 200)
        let waited = budget.take(now: start)
        #expect(waited == 100)  // The second one that waits: two tokens at 20 a second.
        let later = budget.take(now: start.advanced(byMs: 10_000))
        #expect(later == 0)
        var earned = RetryBudget(now: start)
        while earned.take(now: start) == 0 {}
        for _ in 0..<16 { earned.succeeded() }
        let third = [earned.take(now: start), earned.take(now: start), earned.take(now: start)]
        #expect(third[0] == 0 && third[1] == 0 && third[2] > 0)
    }

    @Test func hedgesAreOneInTwenty() {
        var budget = HedgeBudget()
        var hedges = 0
        for _ in 0..<10_000 {
            budget.requestSent()
            if budget.take() { hedges += 1 }
        }
        #expect((500...503).contains(hedges))
    }
}

/// `#expect` can't call what changes a value.
private func expect(_ reaction: Reaction, _ expected: Reaction, _ location: SourceLocation = #_sourceLocation) {
    #expect(reaction == expected, sourceLocation: location)
}
