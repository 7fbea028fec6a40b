import Controller
import Glibc
import Kubernetes
import KubernetesTestSupport
import Manifests
import PrometheusMetrics
import Testing
import Threads

@testable import RevisionControl

/// A store that is only a set of IDs, fails at random, and looks at each removal: what a volume shows must never go.
private final class FragileStore: RevisionStore {
    struct State {
        var ids: Set<String> = []
        var digest = 0
        var random: Random
        var violations: [String] = []
        var isWell = false
        var pointer: String?
        /// The revision that each pod which runs has been shown since it started.
        var pods: [String: String] = [:]
    }
    let state: Locked<State>
    let server: APIServer

    init(_ server: APIServer, seed: UInt64) {
        self.server = server
        state = Locked(State(random: Random(seed)))
    }

    private func fails() -> Bool {
        state.withLock { !$0.isWell && Int.random(in: 0..<6, using: &$0.random) == 0 }
    }

    func build(
        _ job: RevisionJob, id: String, created: Int64, unlessDigest: String?
    ) async throws(RevisionFailure) -> ManifestInfo? {
        if fails() { throw RevisionFailure("the source can't be listed") }
        let digest = "d\(state.withLock { $0.digest })"
        if digest == unlessDigest { return nil }
        state.withLock { _ = $0.ids.insert(id) }
        // Kept, and then the answer is lost.
        if fails() { throw RevisionFailure("the answer was lost") }
        var info = ManifestInfo(bucket: job.source.bucket, prefix: "", created: created)
        info.digest = digest
        info.objects = 1
        return info
    }

    func remove(id: String, _ job: RevisionJob) async throws(RevisionFailure) {
        if fails() { throw RevisionFailure("it can't be deleted") }
        let shown = server.objects(PersistentVolume.resource).compactMap {
            $0.at("spec", "csi", "volumeAttributes", "millrace.dev/revision")?.string
        }
        state.withLock { state in
            if shown.contains(id) { state.violations.append("\(id), which a volume shows") }
            if state.pointer == id { state.violations.append("\(id), which pods get that start") }
            if state.pods.values.contains(id) { state.violations.append("\(id), which a pod shows") }
            state.ids.remove(id)
        }
    }

    func point(to id: String?, _ job: RevisionJob) async throws(RevisionFailure) {
        if fails() { throw RevisionFailure("it can't be written") }
        state.withLock { state in
            if let id, !state.ids.contains(id) { state.violations.append("\(id) isn't there, and pods are to get it") }
            state.pointer = id
        }
        if fails() { throw RevisionFailure("the answer was lost") }
    }

    func ids(_ job: RevisionJob) async throws(RevisionFailure) -> [String] {
        if fails() { throw RevisionFailure("it can't be listed") }
        return state.withLock { Array($0.ids) }
    }
}

struct Random: RandomNumberGenerator {
    private var state: UInt64
    init(_ seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }
}

/// Random histories of people, volumes and failures.
@Suite(.serialized) struct RevisionSimulationTests {
    @Test("C11, V13: nothing that volumes, pods or the pointer show goes", arguments: [1, 2, 3, 4] as [UInt64])
    func noVolumeLosesItsManifest(seed: UInt64) async throws {
        var random = Random(seed &* 77)
        let server = try APIServer.cluster(seed: seed)
        let store = FragileStore(server, seed: seed)
        // The API server's, which says when pods were made; people who wait make it go ahead.
        let clock = Locked(0)
        let client = Client(transport: DirectTransport(server), fieldManager: Names.controller)
        server.add(dataset: "iris", endpoint: "http://127.0.0.1:9", ["policy": "Pinned", "keep": 2])
        server.add(volume: "rolling", showing: "newest", of: "iris", claim: "rolling")
        var volumes: [String] = []
        var made = 0

        func patch(_ change: JSON) { server.patch(Dataset.resource, "iris", namespace: "courses", change) }

        /// One life of the controller: it may end anywhere, in the middle of a build too.
        func live(_ body: () async -> Void) async {
            let controller = RevisionController(
                client: client, store: store, metrics: Registry(), logger: quiet,
                now: { Int(time(nil)) + clock.withLock { $0 } })
            let task = Task { await controller.run() }
            await body()
            task.cancel()
            await task.value
        }

        for _ in 0..<6 {
            await live {
                for step in 0..<25 {
                    switch Int.random(in: 0..<10, using: &random) {
                    case 0, 1: store.state.withLock { $0.digest += 1 }
                    case 2:
                        patch(["metadata": ["annotations": ["millrace.dev/new-revision": .string("\(made)-\(step)")]]])
                    case 3:
                        // As the provisioner: of what the status says is the newest.
                        guard let newest = server.revisions("iris").max() else { break }
                        made += 1
                        server.add(volume: "v\(made)", showing: newest, of: "iris")
                        volumes.append("v\(made)")
                    case 4:
                        guard let name = volumes.popLast() else { break }
                        server.delete(PersistentVolume.resource, name)
                    case 5: patch(["spec": ["revision": ["keep": .integer(Int.random(in: 1...3, using: &random))]]])
                    case 6:
                        server.inject(
                            Fault(verb: "patch", resource: "datasets", .status(500, reason: "InternalError"), count: 1))
                    case 7:
                        // A pod starts: it gets what the pointer leads to now.
                        guard let id = store.state.withLock({ $0.pointer }) else { break }
                        made += 1
                        let name = "p\(made)"
                        let volume: JSON = ["name": "d", "persistentVolumeClaim": ["claimName": "rolling"]]
                        server.create(
                            Pod.resource, ["metadata": ["name": .string(name)], "spec": ["volumes": [volume]]],
                            namespace: "courses")
                        store.state.withLock { $0.pods[name] = $0.pointer ?? id }
                    case 8:
                        guard let name = store.state.withLock({ $0.pods.keys.min() }) else { break }
                        store.state.withLock { $0.pods[name] = nil }
                        server.delete(Pod.resource, name, namespace: "courses")
                    default: clock.withLock { $0 += 61 }
                    }
                    for _ in 0..<Int.random(in: 0...20, using: &random) { await Task.yield() }
                    try? await Task.sleep(for: .milliseconds(1))
                }
            }
        }
        // Left alone, all comes to rest: what is recorded is there, and nothing else.
        store.state.withLock { $0.isWell = true }
        for name in volumes { server.delete(PersistentVolume.resource, name) }
        for name in store.state.withLock({ $0.pods.keys.sorted() }) {
            store.state.withLock { $0.pods[name] = nil }
            server.delete(Pod.resource, name, namespace: "courses")
        }
        await live {
            store.state.withLock { $0.digest += 1 }
            clock.withLock { $0 += 61 }
            patch([
                "metadata": ["annotations": ["millrace.dev/new-revision": "last"]], "spec": ["revision": ["keep": 2]],
            ])
            await eventually("it comes to rest") {
                clock.withLock { $0 += 61 }
                patch(["metadata": ["labels": ["t": .string("\(clock.withLock { $0 })")]]])
                let recorded = server.revisions("iris")
                return server.phase("iris") == "Ready" && recorded.count <= 2
                    && server.dataset("iris")?.at("status", "revision", "request") == "last"
            }
            // Orphans go with the next build.
            store.state.withLock { $0.digest += 1 }
            patch(["metadata": ["annotations": ["millrace.dev/new-revision": "orphans"]]])
            await eventually("no orphan is left") {
                store.state.withLock { $0.ids } == Set(server.revisions("iris")) && server.revisions("iris").count == 2
            }
            await eventually("pods get the newest") {
                store.state.withLock { $0.pointer } == server.revisions("iris").max()
            }
        }
        #expect(store.state.withLock { $0.violations } == [], "seed \(seed)")
        server.stop()
    }
}
