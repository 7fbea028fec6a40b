import PrometheusMetrics
import S3
import TestSupport
import Testing

@testable import Controller

/// Asks a real S3 server over sockets.
@Suite(.serialized) struct S3ProbeTests {
    private let engine = TransferEngine(threads: 1)
    private var probe: S3Probe { S3Probe(engine: engine, metrics: Registry(), logger: quiet) }
    private let keys = SourceCredentials(accessKeyID: "id", secretAccessKey: "secret")

    private func view(_ endpoint: String, bucket: String = "b") -> DatasetView {
        var source = Dataset.S3Source(bucket: bucket)
        source.prefix = "p"
        source.endpoint = endpoint
        source.pathStyle = true
        return DatasetView(source: source)
    }

    private func server() throws -> S3Server {
        var options = S3Server.Options()
        options.credentials = [ServerCredentials(accessKey: "id", secretKey: "secret")]
        options.pageLimit = 7
        let server = try S3Server(options)
        server.createBucket("b")
        for i in 0..<20 { server.put("b", "p/\(i)", String(repeating: "x", count: i)) }
        server.put("b", "other/1", "not counted")
        server.put("b", "p2/1", "not counted either")
        return server
    }

    @Test func findsAndCounts() async throws {
        let server = try server()
        #expect(await probe.check(view(server.endpoint), credentials: keys) == .reachable)
        let count = await probe.count(view(server.endpoint), credentials: keys)
        #expect(count?.objects == 20)
        #expect(count?.bytes == (0..<20).reduce(0, +))
        var missing = view(server.endpoint)
        missing.subPath = "none"
        #expect(await probe.exists(missing, credentials: keys) == false)
        missing.subPath = nil
        #expect(await probe.exists(missing, credentials: keys) == true)
        server.stop()
        engine.stop()
    }

    @Test func saysWhatIsWrong() async throws {
        let server = try server()
        func finding(_ view: DatasetView, _ keys: SourceCredentials?) async -> String {
            "\(await probe.check(view, credentials: keys))"
        }
        #expect(await finding(view(server.endpoint, bucket: "none"), keys).hasPrefix("noBucket"))
        let wrong = SourceCredentials(accessKeyID: "id", secretAccessKey: "hunter2")
        let denied = await finding(view(server.endpoint), wrong)
        #expect(denied.hasPrefix("denied") && denied.contains("SignatureDoesNotMatch") && !denied.contains("hunter2"))
        #expect(await finding(view(server.endpoint), nil).hasPrefix("denied"))
        server.stop()
        #expect(await finding(view("http://127.0.0.1:1"), keys).hasPrefix("unreachable"))
        engine.stop()
    }
}
