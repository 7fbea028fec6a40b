import Copy
import Curl
import Glibc
import PrometheusMetrics
import Testing
import Threads

struct ProgressTests {
    @Test("C8: progress is served as JSON beside the metrics")
    func served() throws {
        let registry = Registry()
        registry.counter("test_total", "A count.").add(3)
        let report = Locked(ProgressReport(.listing))
        let server = try ProgressServer(address: "127.0.0.1:0", metrics: registry) { report.withLock { $0 } }
        defer { server.stop() }
        #expect(
            try get(server, "/progress") == """
                {"phase":"Listing","objects":0,"objectsTotal":null,"bytes":0,"bytesTotal":null,"final":false,"message":""}

                """)
        report.withLock {
            $0.phase = .copying
            ($0.objects, $0.objectsTotal, $0.bytes, $0.bytesTotal) = (3, 10, 4096, 1 << 40)
            $0.message = "a \"b\" \\ \n c"
        }
        #expect(
            try get(server, "/progress") == """
                {"phase":"Copying","objects":3,"objectsTotal":10,"bytes":4096,"bytesTotal":1099511627776,\
                "final":false,"message":"a \\"b\\" \\\\   c"}

                """)
        #expect(try get(server, "/metrics").contains("test_total 3"))
    }

    @Test("C6: the end is left where the kubelet finds it, and fits there")
    func resultFile() throws {
        let folder = Folder()
        var report = ProgressReport(.failed)
        report.message = String(repeating: "ä", count: 5000)
        report.isFinal = true
        for _ in 0..<2 { #expect(ResultFile.write(report, to: folder.path + "/result")) }
        let bytes = try #require(folder.bytes(of: "result"))
        #expect(bytes.count < 4096)
        #expect(String(decoding: bytes, as: UTF8.self) == report.json + "\n")
        #expect(!ResultFile.write(report, to: folder.path + "/nowhere/result"))
    }

    private func get(_ server: ProgressServer, _ path: String) throws -> String {
        let thread = TransferThread()
        defer { thread.stop() }
        let promise = Promise<Result<HTTPResponse, HTTPError>>()
        HTTPClient(thread: thread).send(HTTPRequest("GET", "http://127.0.0.1:\(server.port)\(path)")) {
            promise.fulfil($0)
        }
        let response = try #require(promise.wait(until: Instant.now.advanced(byMs: 60_000))).get()
        #expect(response.status == 200)
        return String(decoding: response.body, as: UTF8.self)
    }
}
