import KubernetesTestSupport
import Synchronization
import Testing
import Threads

@testable import Kubernetes

@Suite struct LeaderElectionTests {
    private func at(_ ms: Int) -> Instant { Instant(nanoseconds: UInt64(ms) * 1_000_000) }

    private func lease(_ holder: String, renewed: String) -> Lease.Spec {
        var spec = Lease.Spec()
        spec.holderIdentity = holder
        spec.leaseDurationSeconds = 15
        spec.renewTime = renewed
        spec.leaseTransitions = 3
        return spec
    }

    @Test func anothersLeaseIsTakenOnlyAfterItStoodStillForItsDuration() {
        var election = LeaseElection(identity: "me", leaseMs: 15_000)
        #expect(election.decide(nil, now: at(0)) == .create)
        #expect(election.decide(lease("other", renewed: "1"), now: at(0)) == .wait)
        #expect(election.decide(lease("other", renewed: "2"), now: at(14_000)) == .wait)
        // What its clock says doesn't matter, only that it moved.
        #expect(election.decide(lease("other", renewed: "2"), now: at(28_999)) == .wait)
        #expect(election.decide(lease("other", renewed: "2"), now: at(29_000)) == .take(transitions: 4))
        #expect(election.decide(lease("", renewed: "2"), now: at(29_001)) == .take(transitions: 4))
        #expect(election.decide(lease("me", renewed: "3"), now: at(29_002)) == .renew)
    }

    @Test func leadingEndsBeforeTheLeaseDoes() {
        var election = LeaseElection(identity: "me", leaseMs: 15_000)
        #expect(!election.isLeader(now: at(0), renewDeadlineMs: 10_000))
        election.wrote(now: at(0))
        #expect(election.isLeader(now: at(9_999), renewDeadlineMs: 10_000))
        #expect(!election.isLeader(now: at(10_000), renewDeadlineMs: 10_000))
    }

    private var fast: LeaderElection.Settings {
        var settings = LeaderElection.Settings()
        settings.leaseMs = 2000
        settings.renewDeadlineMs = 1000
        settings.retryMs = 50
        return settings
    }

    @Test func onlyOneLeadsAndTheNextFollowsWhenItGoes() async {
        let server = APIServer()
        let leading = Leaders()
        func candidate(_ name: String) -> Task<Bool, Never> {
            let election = LeaderElection(
                client: Client(server), name: "lock", namespace: "default", identity: name, settings: fast,
                logger: quiet)
            return Task {
                await election.run {
                    await leading.start(name)
                    while !Task.isCancelled { try? await Task.sleep(for: .milliseconds(10)) }
                    await leading.end(name)
                }
            }
        }
        let tasks = ["a": candidate("a"), "b": candidate("b")]
        await eventually("one leads") { await leading.current.count == 1 }
        let first = await leading.current.first!
        tasks[first]!.cancel()
        // It gave the lease up, so this takes no 2 s.
        await eventually("the other leads") { await leading.current == [first == "a" ? "b" : "a"] }
        for task in tasks.values { task.cancel() }
        for task in tasks.values { _ = await task.value }
        #expect(await leading.most == 1)
        server.stop()
    }

    @Test func aLeaderThatCannotRenewStops() async {
        let server = APIServer()
        let leading = Leaders()
        let election = LeaderElection(
            client: Client(server), name: "lock", namespace: "default", identity: "a", settings: fast, logger: quiet)
        let task = Task {
            await election.run {
                await leading.start("a")
                while !Task.isCancelled { try? await Task.sleep(for: .milliseconds(10)) }
                await leading.end("a")
            }
        }
        await eventually("leads") { await leading.current == ["a"] }
        server.inject(Fault(resource: "leases", .lostRequest, count: 1_000_000))
        #expect(await task.value)
        #expect(await leading.current.isEmpty)
        server.stop()
    }

    @Test func aLossIsToldAtOnceAlsoWhereTheBodyTakesLongToEnd() async {
        let server = APIServer()
        let isTold = Locked(false)
        let election = LeaderElection(
            client: Client(server), name: "lock", namespace: "default", identity: "a", settings: fast, logger: quiet)
        let leading = Leaders()
        await withTaskGroup(of: Bool.self) { group in
            group.addTask {
                await election.run(whenLost: { isTold.withLock { $0 = true } }) {
                    await leading.start("a")
                    // It doesn't look whether it is cancelled.
                    await eventually("it is told") { isTold.withLock { $0 } }
                }
            }
            await eventually("leads") { await leading.current == ["a"] }
            server.inject(Fault(resource: "leases", .lostRequest, count: 1_000_000))
            let wasLost = await group.next()
            #expect(wasLost == true)
        }
        server.stop()
    }

    @Test func aLeaderThatIsDeposedStopsAndNobodyFollows() async throws {
        let server = APIServer()
        let leading = Leaders()
        func election(_ name: String) -> LeaderElection {
            LeaderElection(
                client: Client(server), name: "lock", namespace: "default", identity: name, settings: fast,
                logger: quiet)
        }
        let leader = election("a")
        let task = Task {
            await leader.run {
                await leading.start("a")
                while !Task.isCancelled { try? await Task.sleep(for: .milliseconds(10)) }
                await leading.end("a")
            }
        }
        await eventually("leads") { await leading.current == ["a"] }
        // A renewal came between: it is tried again.
        server.inject(Fault(verb: "update", resource: "leases", .status(409, reason: "Conflict"), count: 1))
        try await election("end").depose(forSeconds: 60)
        #expect(await leading.current.isEmpty)
        #expect(await task.value)
        let lease = try await Client(server).get(Lease.self, "lock", namespace: "default").spec
        #expect(lease?.holderIdentity == "end" && lease?.leaseDurationSeconds == 60)
        // The next replica waits that long, and not as long as it would by itself.
        var next = LeaseElection(identity: "b", leaseMs: 2000)
        #expect(next.decide(lease, now: at(0)) == .wait)
        #expect(next.decide(lease, now: at(59_999)) == .wait)
        #expect(next.decide(lease, now: at(60_000)) == .take(transitions: lease!.leaseTransitions! + 1))
        server.stop()
    }

    @Test func whereNobodyEverLedNobodyIsDeposed() async throws {
        let server = APIServer()
        let election = LeaderElection(
            client: Client(server), name: "lock", namespace: "default", identity: "end", settings: fast, logger: quiet)
        try await election.depose(forSeconds: 60)
        #expect(server.objects(Lease.resource).isEmpty)
        server.stop()
    }

    private actor Leaders {
        private(set) var current: Set<String> = []
        private(set) var most = 0
        func start(_ name: String) {
            current.insert(name)
            most = max(most, current.count)
        }
        func end(_ name: String) { current.remove(name) }
    }
}
