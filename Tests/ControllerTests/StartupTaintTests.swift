import FoundationEssentials
import Kubernetes
import KubernetesTestSupport
import PrometheusMetrics
import Testing

@testable import Controller

@Suite struct StartupTaintTests {
    let server = APIServer()
    private let taints: JSON = [
        ["key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule", "timeAdded": "2026-01-01T00:00:00Z"],
        ["key": "millrace.dev/not-ready", "value": "true", "effect": "NoExecute"],
    ]

    private func running(_ body: () async -> Void) async {
        let client = Client(transport: DirectTransport(server), fieldManager: "test")
        let subject = StartupTaints(
            client: client, taint: "millrace.dev/not-ready", driver: Names.defaultDriver, metrics: Registry(),
            logger: quiet)
        let task = Task { await subject.run() }
        await body()
        task.cancel()
        await task.value
        server.stop()
    }

    private func add(node: String, drivers: [JSON]) {
        server.create(ClusterNode.resource, ["metadata": ["name": .string(node)], "spec": ["taints": taints]])
        server.create(
            CSINode.resource, ["metadata": ["name": .string(node)], "spec": ["drivers": .array(drivers)]])
    }
    private func keys(_ node: String) -> [String] {
        (server.object(ClusterNode.resource, node)?.at("spec", "taints")?.array ?? []).compactMap { $0["key"]?.string }
    }

    @Test func theTaintGoesOnceTheDriverHasRegistered() async {
        add(node: "one", drivers: [["name": "other.driver"]])
        add(node: "two", drivers: [["name": .string(Names.defaultDriver)]])
        await running {
            // Another's change meanwhile is a conflict, and comes again.
            server.inject(Fault(verb: "patch", resource: "nodes", .status(409, reason: "Conflict")))
            await eventually("two is open") { keys("two") == ["node.kubernetes.io/unschedulable"] }
            let left = server.object(ClusterNode.resource, "two")?.at("spec", "taints")?.array
            #expect(left?.first == taints.array?.first)
            #expect(keys("one").count == 2)
            server.patch(
                CSINode.resource, "one", ["spec": ["drivers": [["name": .string(Names.defaultDriver)]]]])
            await eventually("one is open") { keys("one") == ["node.kubernetes.io/unschedulable"] }
        }
    }

    private func object<T: KubernetesObject>(_ json: JSON) throws -> T {
        try JSONDecoder().decode(T.self, from: Data(json.bytes))
    }

    @Test func onlyTheVersionThatWasSeenIsChanged() throws {
        let clean: ClusterNode = try object(["metadata": ["name": "n", "resourceVersion": "7"]])
        let tainted: ClusterNode = try object([
            "metadata": ["name": "n", "resourceVersion": "7"],
            "spec": ["taints": [["key": "t", "effect": "NoSchedule"]]],
        ])
        let registered: CSINode = try object(["metadata": ["name": "n"], "spec": ["drivers": [["name": "d"]]]])
        func patch(_ node: ClusterNode, _ registration: CSINode?, driver: String = "d") -> JSON? {
            StartupTaints.patch(node, registration, taint: "t", driver: driver)
        }
        #expect(patch(clean, registered) == nil)
        #expect(patch(tainted, nil) == nil)
        #expect(patch(tainted, registered, driver: "other") == nil)
        #expect(
            patch(tainted, registered) == ["metadata": ["resourceVersion": "7"], "spec": ["taints": .null]])
    }
}
