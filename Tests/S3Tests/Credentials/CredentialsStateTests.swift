import Testing
import Threads

@testable import S3

@Suite struct CredentialsStateTests {
    private func keys(_ name: String, expires: Int64?) -> Credentials {
        Credentials(accessKeyID: name, secretAccessKey: Secret("s"), expires: expires)
    }
    private let broken = S3Error.credentials("broken")

    @Test func oneFetchServesAllWhoWait() {
        var state = CredentialsState()
        check(state.ask(now: 0) == (.wait, true))
        check(state.ask(now: 0) == (.wait, false))
        let first = keys("a", expires: 3600)
        check(state.fetched(.success(first), now: 1) == .success(first))
        check(state.ask(now: 1) == (.use(first), false))
    }

    @Test func theyAreRefreshedBeforeTheyExpireWhileTheyAreUsed() {
        var state = CredentialsState()
        _ = state.ask(now: 0)
        let first = keys("a", expires: 3600)
        _ = state.fetched(.success(first), now: 0)
        check(state.ask(now: 3299) == (.use(first), false))
        check(state.ask(now: 3300) == (.use(first), true))
        check(state.ask(now: 3300) == (.use(first), false))
        // A refresh that fails hurts nobody as long as they last, and is tried again.
        _ = state.fetched(.failure(broken), now: 3301)
        check(state.ask(now: 3301) == (.use(first), false))
        check(state.ask(now: 3302) == (.use(first), true))
        _ = state.fetched(.failure(broken), now: 3302)
        check(state.ask(now: 3590) == (.wait, true))
    }

    @Test func shortLivesAreRefreshedInTheirLastQuarter() {
        var state = CredentialsState()
        _ = state.ask(now: 0)
        let first = keys("a", expires: 100)
        _ = state.fetched(.success(first), now: 0)
        check(state.ask(now: 74) == (.use(first), false))
        check(state.ask(now: 75) == (.use(first), true))
    }

    @Test func aSourceThatIsDownIsNotAskedForEachRequest() {
        var state = CredentialsState()
        var fetches = 0
        for now in Int64(0)..<60 {
            for _ in 0..<10 {
                let (answer, starts) = state.ask(now: now)
                if starts {
                    fetches += 1
                    check(state.fetched(.failure(broken), now: now) == .failure(broken))
                } else {
                    #expect(answer == .fail(broken))
                }
            }
        }
        #expect(fetches == 6)  // at 0, 1, 3, 7, 15, 31
    }

    @Test func refusedOnesAreFetchedAnewUnlessTheSourceHasNoOthers() {
        var state = CredentialsState()
        _ = state.ask(now: 0)
        let first = keys("a", expires: nil)
        let second = keys("b", expires: nil)
        _ = state.fetched(.success(first), now: 0)
        check(state.refused(first, now: 1))
        check(state.ask(now: 1) == (.wait, true))
        check(state.refused(first, now: 1))
        check(state.fetched(.success(second), now: 1) == .success(second))
        check(state.refused(first, now: 1))  // Somebody was late: the second ones are there.
        check(state.ask(now: 1) == (.use(second), false))

        check(state.refused(second, now: 2))
        _ = state.ask(now: 2)
        // The source has no others: these are tried again, once, and the refusal is believed for a while.
        check(state.fetched(.success(second), now: 2) == .success(second))
        check(!state.refused(second, now: 2))
        check(state.ask(now: 2) == (.use(second), false))
        check(state.refused(second, now: 3))
    }

    @Test func manyThreadsThatAskAtOnceCauseOneFetch() throws {
        let fetches = Locked<[@Sendable (Result<Credentials, S3Error>) -> Void]>([])
        let source = RefreshingCredentials(origin: "test") { completion in
            fetches.withLock { $0.append(completion) }
        }
        let promises = (0..<8).map { _ in Promise<String?>() }
        let threads = promises.map { promise in
            Thread("asks") {
                source.credentials { result in promise.fulfil(try? result.get()?.accessKeyID) }
            }
        }
        for thread in threads { thread.join() }
        let started = fetches.withLock { $0 }
        #expect(started.count == 1)
        started.first?(.success(keys("k", expires: nil)))
        for promise in promises { #expect(try promise.value() == "k") }
    }

    @Test func secretsNeverShow() {
        let credentials = Credentials(
            accessKeyID: "AKIA", secretAccessKey: Secret("hidden!"), sessionToken: Secret("hidden!"))
        var dumped = ""
        dump(credentials, to: &dumped)
        dump(CredentialsPlan.fixed(credentials, origin: "x"), to: &dumped)
        for text in [
            dumped, "\(credentials)", String(reflecting: credentials),
            "\(CredentialsPlan.container(url: "u", token: Secret("hidden!"), tokenFile: nil))",
        ] {
            #expect(!text.contains("hidden"), "\(text)")
        }
    }
}

private func == (a: (answer: CredentialsState.Answer, startsFetch: Bool), b: (CredentialsState.Answer, Bool)) -> Bool {
    a.answer == b.0 && a.startsFetch == b.1
}

/// `#expect` can't call what changes a value.
private func check(_ holds: Bool, _ location: SourceLocation = #_sourceLocation) {
    #expect(holds, sourceLocation: location)
}
