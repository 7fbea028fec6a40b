import Glibc
import PrometheusMetrics
import TestSupport
import Testing
import Threads

@Suite("The metrics server", .serialized)
struct MetricsServerTests {
    private func server(isHealthy: Bool = true) throws -> MetricsServer {
        let registry = Registry()
        registry.counter("test_total", "A count.").add(7)
        return try MetricsServer(address: "127.0.0.1:0", registry: registry, health: { isHealthy })
    }

    private func exchange(_ server: MetricsServer, _ request: String, half: Bool = false) throws -> String {
        let answer = TestSupport.exchange(port: server.port, request, endsWriting: half)
        return try #require(answer)
    }

    @Test("it answers with the metrics, and with its health")
    func answers() throws {
        let good = try server()
        defer { good.stop() }
        let metrics = try exchange(good, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        #expect(metrics.hasPrefix("HTTP/1.1 200 OK\r\n") && metrics.contains("\ntest_total 7\n"))
        #expect(try exchange(good, "GET /healthz HTTP/1.1\r\n\r\n").hasSuffix("\r\n\r\nok\n"))
        let head = try exchange(good, "HEAD /metrics HTTP/1.0\r\n\r\n")
        #expect(head.hasPrefix("HTTP/1.1 200") && head.hasSuffix("\r\n\r\n"))
        let ill = try server(isHealthy: false)
        defer { ill.stop() }
        #expect(try exchange(ill, "GET /healthz HTTP/1.1\r\n\r\n").hasPrefix("HTTP/1.1 503"))
    }

    @Test("what it doesn't know it refuses")
    func refusals() throws {
        let server = try server()
        defer { server.stop() }
        #expect(try exchange(server, "GET / HTTP/1.1\r\n\r\n").hasPrefix("HTTP/1.1 404"))
        #expect(try exchange(server, "POST /metrics HTTP/1.1\r\n\r\n").hasPrefix("HTTP/1.1 405"))
        #expect(try exchange(server, "nonsense\r\n\r\n").hasPrefix("HTTP/1.1 400"))
        #expect(try exchange(server, String(repeating: "x", count: 9000)).hasPrefix("HTTP/1.1 431"))
        #expect(try exchange(server, "GET /metrics HT", half: true) == "")
    }

    @Test("an address that can't be used is named")
    func addresses() throws {
        for address in ["nonsense", "127.0.0.1:x", "127.0.0.1:99999"] {
            #expect(throws: MetricsServer.Problem.self) {
                try MetricsServer(address: address, registry: Registry(), health: { true })
            }
        }
        let first = try server()
        defer { first.stop() }
        let problem = #expect(throws: MetricsServer.Problem.self) {
            try MetricsServer(address: "127.0.0.1:\(first.port)", registry: Registry(), health: { true })
        }
        #expect(problem?.description.contains("127.0.0.1:\(first.port)") == true)
    }
}
