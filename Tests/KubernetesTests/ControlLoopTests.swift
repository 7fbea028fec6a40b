import KubernetesTestSupport
import PrometheusMetrics
import Testing
import Threads

@testable import Kubernetes

@Suite struct ControlLoopTests {
    let server = APIServer()
    let metrics = Registry()

    private func loop(workers: Int = 4, resyncSeconds: Int = 900) -> ControlLoop {
        ControlLoop(
            name: "test", client: Client(server), workers: workers, resyncSeconds: resyncSeconds, metrics: metrics,
            logger: quiet)
    }

    /// Runs the loop while the body does.
    private func running(
        _ loop: ControlLoop, _ reconcile: @escaping @Sendable (ObjectKey) async -> WorkOutcome,
        _ body: () async throws -> Void
    ) async rethrows {
        let task = Task { await loop.run(reconcile) }
        try await body()
        task.cancel()
        await task.value
        server.stop()
    }

    @Test func whatWasThereWhatComesAndWhatGoesIsLookedAt() async throws {
        let client = Client(server)
        try await client.create(claim("before"))
        let loop = loop()
        let claims = loop.watch(PersistentVolumeClaim.self) { [$0.key] }
        let seen = Locked<[String: Bool]>([:])
        let look: @Sendable (ObjectKey) async -> WorkOutcome = { key in
            seen.withLock { $0[key.name] = claims[key] != nil }
            return .done
        }
        try await running(loop, look) {
            await eventually("listed") { seen.withLock { $0["before"] == true } }
            #expect(loop.isSynced && loop.isHealthy)
            try await client.create(claim("after"))
            await eventually("created") { seen.withLock { $0["after"] == true } }
            try await client.delete(PersistentVolumeClaim.self, "before", namespace: "default")
            await eventually("deleted") { seen.withLock { $0["before"] == false } }
            #expect(claims.all.map(\.key.name) == ["after"])
        }
    }

    @Test func nothingIsReconciledBeforeAllTablesAreFilled() async throws {
        try await Client(server).create(claim("a"))
        server.inject(Fault(verb: "list", resource: "pods", .status(500, reason: "InternalError"), count: 3))
        let loop = loop()
        _ = loop.watch(PersistentVolumeClaim.self) { [$0.key] }
        _ = loop.watch(Pod.self) { [$0.key] }
        let lists = Locked<Int?>(nil)
        let look: @Sendable (ObjectKey) async -> WorkOutcome = { [server] _ in
            lists.withLock { if $0 == nil { $0 = server.callCounts["list pods"] } }
            return .done
        }
        await running(loop, look) {
            await eventually("reconciled") { lists.withLock { $0 != nil } }
            // The three that failed came first.
            #expect(lists.withLock { $0 } == 4)
        }
    }

    @Test func aKeyHasOneWorkerAtATimeAndFailuresComeBack() async throws {
        struct Counts {
            var now = 0
            var most = 0
            var looks = 0
        }
        let counts = Locked(Counts())
        let loop = loop(workers: 8)
        let claims = loop.watch(PersistentVolumeClaim.self) { _ in [ObjectKey(namespace: "default", name: "one")] }
        let look: @Sendable (ObjectKey) async -> WorkOutcome = { _ in
            counts.withLock {
                $0.now += 1
                $0.most = max($0.most, $0.now)
            }
            await Task.yield()
            return counts.withLock {
                $0.now -= 1
                $0.looks += 1
                return $0.looks < 3 ? .failed() : .done
            }
        }
        try await running(loop, look) {
            for i in 0..<20 { try await Client(server).create(claim("c\(i)")) }
            await eventually("all seen") { claims.all.count == 20 }
            await eventually("looked at again after failures") { counts.withLock { $0.looks >= 3 } }
            #expect(counts.withLock { $0.most } == 1)
        }
    }

    @Test func aChangedObjectConcernsWhatItWasAndWhatItIs() async throws {
        let client = Client(server)
        var labelled = claim("c")
        labelled.metadata.labels = ["to": "x"]
        try await client.create(labelled)
        let loop = loop()
        _ = loop.watch(PersistentVolumeClaim.self) {
            [ObjectKey(namespace: nil, name: $0.metadata.labels?["to"] ?? "none")]
        }
        let seen = Locked<[String]>([])
        let look: @Sendable (ObjectKey) async -> WorkOutcome = { key in
            seen.withLock { $0.append(key.name) }
            return .done
        }
        try await running(loop, look) {
            await eventually("x") { seen.withLock { $0.contains("x") } }
            seen.withLock { $0 = [] }
            try await client.patch(
                PersistentVolumeClaim.self, "c", namespace: "default", merge: ["metadata": ["labels": ["to": "y"]]])
            await eventually("both") { seen.withLock { Set($0) == ["x", "y"] } }
        }
    }

    @Test func aKeyCanBeAskedForLater() async {
        let loop = loop()
        let seen = Locked<[String]>([])
        let look: @Sendable (ObjectKey) async -> WorkOutcome = { key in
            seen.withLock { $0.append(key.name) }
            return .done
        }
        await running(loop, look) {
            loop.enqueue(ObjectKey(namespace: nil, name: "later"), afterMs: 20)
            loop.enqueue(ObjectKey(namespace: nil, name: "now"))
            await eventually("both came") { seen.withLock { Set($0) == ["now", "later"] } }
            #expect(metrics.render().contains("millrace_loop_reconcile_seconds_count{loop=\"test\"}"))
        }
    }
}
