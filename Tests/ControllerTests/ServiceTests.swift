import Glibc
import KubernetesTestSupport
import PrometheusMetrics
import Testing

@testable import Controller
@testable import Kubernetes

/// The whole controller with its watches, over sockets.
@Suite(.serialized) struct ServiceTests {
    let server: APIServer
    init() throws { server = try APIServer.cluster(automatic: true) }

    private func running(statusIntervalMs: Int = 20, _ body: (ControllerService) async throws -> Void) async throws {
        let socket = try #require(SocketServer(server))
        let registry = Registry()
        let client = Client(
            transport: CurlTransport(Configuration(server: socket.url)), fieldManager: Names.controller,
            metrics: registry)
        let reconciler = Reconciler(
            client: client, tables: Tables(),
            provisioning: Provisioning(ids: VolumeIDs(key: Array("a key for tests only".utf8))),
            sources: nil, allowsEviction: false, metrics: registry, logger: quiet)
        var settings = ControllerService.Settings()
        settings.statusIntervalMs = statusIntervalMs
        let service = ControllerService(
            client: client, reconciler: reconciler, sources: nil, settings: settings, metrics: registry, logger: quiet)
        let task = Task { await service.run() }
        try await body(service)
        task.cancel()
        await task.value
        socket.stop()
        server.stop()
    }

    /// Bound within a second needs that nothing waits: one call makes the volume, none failed before it, and all that
    /// does wait for a timer waits for an hour here.
    @Test func betweenAClaimAndItsVolumeThereIsOneCallAndNoTimer() async throws {
        server.add(dataset: "iris", ["allowedNamespaces": ["from": "All"]])
        try await running(statusIntervalMs: 3_600_000) { service in
            await eventually("the start is over") {
                service.isReady
                    && server.object(Dataset.resource, "iris", namespace: "courses")?.condition("Ready") != nil
            }
            server.resetCallCounts()
            for name in ["one", "two"] {
                server.add(claim: name, in: "team-a", class: "course")
                await eventually("\(name) is bound") { server.phase(name, "team-a") == "Bound" }
            }
            #expect(server.callCounts == ["create persistentvolumes": 2])
        }
    }

    @Test func claimsAreBoundWithFourCallsAtMost() async throws {
        server.add(dataset: "iris", ["allowedNamespaces": ["from": "All"]])
        try await running { service in
            await eventually("tables are filled") { service.isReady }
            server.resetCallCounts()
            for i in 0..<100 { server.add(claim: "c\(i)", in: i % 2 == 0 ? "team-a" : "team-b", class: "course") }
            await eventually("all bound") {
                (0..<100).allSatisfy { server.phase("c\($0)", $0 % 2 == 0 ? "team-a" : "team-b") == "Bound" }
            }
            await eventually("consumers counted") {
                server.object(Dataset.resource, "iris", namespace: "courses")?.at("status", "consumers", "volumes")
                    == 100
            }
            #expect(service.isHealthy)
            let calls = server.callCounts.filter { !$0.key.hasPrefix("watch") }.values.reduce(0, +)
            #expect(calls <= 400)
        }
    }

    @Test func whatWasThereBeforeTheStartIsWorkedOn() async throws {
        server.add(dataset: "iris", ["publish": ["namespaceSelector": ["matchLabels": ["team": "b"]]]])
        server.add(claim: "early", in: "team-b", class: "course")
        try await running { _ in
            await eventually("bound") { server.phase("early", "team-b") == "Bound" }
            await eventually("published") { server.phase("iris", "team-b") == "Bound" }
        }
    }

    @Test func itComesThroughBrokenWatchesFailingCallsAndCompaction() async throws {
        server.add(dataset: "iris", ["allowedNamespaces": ["from": "All"]])
        try await running { service in
            await eventually("tables are filled") { service.isReady }
            server.inject(
                Fault(verb: "create", resource: "persistentvolumes", .status(500, reason: "InternalError"), count: 3))
            server.inject(Fault(verb: "create", resource: "persistentvolumes", .lostAnswer, count: 3))
            server.inject(Fault(verb: "create", resource: "persistentvolumes", .delay(ms: 100), count: 3))
            for i in 0..<30 {
                server.add(claim: "c\(i)", in: "team-a", class: "course")
                if i % 10 == 5 { server.breakWatches() }
                if i % 10 == 7 { server.compact() }
            }
            await eventually("all bound") { (0..<30).allSatisfy { server.phase("c\($0)", "team-a") == "Bound" } }
            #expect(server.objects(PersistentVolume.resource).count == 30)
        }
    }

    @Test func healthAndMetricsAreServed() async throws {
        let registry = Registry()
        registry.counter("millrace_test_total", "x").add(7)
        let state = Flag()
        let health = try #require(
            HealthServer(
                address: "127.0.0.1", port: 0,
                HealthServer.Answers(isHealthy: { state.value }, isReady: { false }, metrics: registry)))
        #expect(fetch(health.port, "/healthz").hasPrefix("HTTP/1.1 200"))
        state.value = false
        #expect(fetch(health.port, "/healthz").hasPrefix("HTTP/1.1 503"))
        #expect(fetch(health.port, "/readyz").hasPrefix("HTTP/1.1 503"))
        #expect(fetch(health.port, "/metrics").contains("millrace_test_total 7"))
        #expect(fetch(health.port, "/etc/passwd").hasPrefix("HTTP/1.1 404"))
        health.stop()
    }

    private final class Flag: @unchecked Sendable { var value = true }

    private func fetch(_ port: Int, _ path: String) -> String {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_port = in_port_t(port).bigEndian
        name.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
        _ = withUnsafePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        let request = Array("GET \(path) HTTP/1.1\r\nHost: x\r\n\r\n".utf8)
        _ = send(descriptor, request, request.count, 0)
        var answer: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = recv(descriptor, &buffer, buffer.count, 0)
            guard count > 0 else { return String(decoding: answer, as: UTF8.self) }
            answer += buffer[..<count]
        }
    }

    @Test func aQueueThatDoesNotMoveIsUnhealthy() {
        let progress = QueueProgress()
        #expect(progress.isHealthy)
        progress.started()
        progress.synced()
        progress.note(QueueHealth(depth: 5, underWay: 1, later: 0, longestMs: 1000))
        #expect(progress.isHealthy)
        progress.note(QueueHealth(depth: 5, underWay: 1, later: 0, longestMs: 130_000))
        #expect(!progress.isHealthy)
        server.stop()
    }
}
