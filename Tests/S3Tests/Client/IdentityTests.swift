import Curl
import Logging
import PrometheusMetrics
import TestSupport
import Testing
import Threads

@testable import S3

/// Credentials that expire, requests of several kinds of clients, and the diagnosis of a bucket.
@Suite(.serialized) struct IdentityTests {
    private static let clock: @Sendable () -> Int64 = { 0 }

    /// Gives the next of some credentials each time it is asked.
    private func source(_ names: [String]) -> (RefreshingCredentials, fetches: Locked<Int>) {
        let fetches = Locked(0)
        let source = RefreshingCredentials(origin: "test", clock: Self.clock) { completion in
            let number = fetches.withLock { count in
                count += 1
                return count - 1
            }
            let name = names[min(number, names.count - 1)]
            _ = Thread("fetch") {
                completion(.success(Credentials(accessKeyID: name, secretAccessKey: Secret("secret"))))
            }
        }
        return (source, fetches)
    }

    @Test func expiredCredentialsAreReplacedOnceForAllRequests() throws {
        let (source, fetches) = source(["old", "new"])
        let fixture = try Fixture { $0.credentials = source }
        let object = fixture.put("k", size: 1000)
        fixture.server.configure { $0.credentials = [ServerCredentials(accessKey: "old", secretKey: "secret")] }
        #expect(try fixture.get("k", 0..<1000).bytes == object.bytes)
        fixture.server.configure { $0.credentials = [ServerCredentials(accessKey: "new", secretKey: "secret")] }
        let collectors = (0..<20).map { _ in Collector(from: 0) }
        for collector in collectors { fixture.client.get(GetRequest(key: ObjectKey("k"), range: 0..<1000), collector) }
        for collector in collectors { #expect(try collector.promise.value().bytes == object.bytes) }
        #expect(fetches.withLock { $0 } == 2)
    }

    @Test func aTokenThatStaysExpiredIsReplayedOnce() throws {
        let (source, fetches) = source(["AKIATEST", "b", "c"])
        let fixture = try Fixture { $0.credentials = source }
        fixture.server.inject(.status(400, "ExpiredToken", count: -1))
        #expect(
            try fixture.get("k", 0..<1).error == .denied(code: "ExpiredToken", message: "a fault that was asked for"))
        #expect(fetches.withLock { $0 } == 2)
        #expect(fixture.server.counts.requests == 2)
    }

    @Test func wrongKeysAreDeniedAtOnce() throws {
        let wrong = Credentials(accessKeyID: "AKIATEST", secretAccessKey: Secret("wrong"))
        let fixture = try Fixture { $0.credentials = StaticCredentials(wrong, origin: "test") }
        guard case .denied(let code, _) = try fixture.get("k", 0..<1).error else {
            Issue.record("not denied")
            return
        }
        #expect(code == "SignatureDoesNotMatch" || code == "InvalidToken")
        #expect(fixture.server.counts.requests == 1)
    }

    @Test func noCredentialsAreAnErrorThatSaysWhy() throws {
        let source = RefreshingCredentials(origin: "test", clock: Self.clock) { $0(.failure(.credentials("broken"))) }
        let fixture = try Fixture { $0.credentials = source }
        let collectors = (0..<500).map { _ in Collector(from: 0) }
        for collector in collectors { fixture.client.get(GetRequest(key: ObjectKey("k"), range: 0..<1), collector) }
        for collector in collectors { #expect(try collector.promise.value().error == .credentials("broken")) }
        #expect(fixture.server.counts.requests == 0)
    }

    @Test func anonymousRequestsCarryNoSignature() throws {
        let fixture = try Fixture { $0.credentials = StaticCredentials.anonymous }
        let object = fixture.put("k", size: 10)
        #expect(try fixture.get("k", 0..<10).error == .denied(code: "AccessDenied", message: "Access Denied"))
        fixture.server.configure { $0.credentials = [] }
        #expect(try fixture.get("k", 0..<10).bytes == object.bytes)
    }

    @Test func whoPaysIsSaidAndSigned() throws {
        let fixture = try Fixture { $0.requesterPays = true }
        let object = fixture.put("k", size: 10)
        #expect(try fixture.get("k", 0..<10).bytes == object.bytes)
        let server = ScriptedServer { _, _, connection in connection.answer("404 Not Found") }
        let client = Fixture.client(try Endpoint(url: server.url), fixture.engine) { $0.requesterPays = true }
        _ = try client.collect(GetRequest(key: ObjectKey("k"), range: 0..<1))
        let headers = try #require(server.seen.first?.headers)
        #expect(headers["x-amz-request-payer"] == "requester")
        #expect(
            headers["authorization"]?.contains(
                "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-request-payer;x-amz-security-token") == true)
    }

    @Test func aServersWordsNeverBecomeHeadersOrHosts() throws {
        let server = ScriptedServer { _, _, connection in
            connection.answer(
                "400 Bad Request",
                "<Error><Code>AuthorizationHeaderMalformed</Code><Region>evil.example/&#13;&#10;X-Evil: 1</Region></Error>"
            )
        }
        let engine = TransferEngine(threads: 1)
        defer { engine.stop() }
        let client = Fixture.client(try Endpoint(url: server.url), engine)
        let got = try client.collect(GetRequest(key: ObjectKey("k"), range: 0..<1, etag: "a\r\nX-Evil: 1"))
        #expect(got.error == .status(400, code: "AuthorizationHeaderMalformed", message: ""))
        #expect(server.seen.count == 1)
        #expect(server.seen.allSatisfy { $0.headers["x-evil"] == nil && $0.headers["if-match"] == nil })
        #expect(client.currentEndpoint.region == "us-east-1")
    }

    @Test func requestsGoThroughAProxy() throws {
        let server = ScriptedServer { _, _, connection in connection.answer("404 Not Found") }
        let engine = TransferEngine(threads: 1)
        defer { engine.stop() }
        let client = Fixture.client(try Endpoint(url: "http://s3.invalid"), engine) {
            $0.connection.proxy = .url(server.url)
        }
        #expect(try client.collect(GetRequest(key: ObjectKey("a//../b"), range: 0..<1)).error == .noSuchKey)
        #expect(server.seen.first?.line == "GET http://s3.invalid/bucket/a//../b HTTP/1.1")
    }

    @Test func aBucketIsDiagnosed() throws {
        func check(_ client: S3Client) throws -> Result<BucketCheck, S3Error> {
            let promise = Promise<Result<BucketCheck, S3Error>>()
            client.checkBucket(timeoutMs: 2000) { promise.fulfil($0) }
            return try promise.value()
        }
        let fixture = try Fixture()
        let good = try check(fixture.client).get()
        let offset = try #require(good.clockOffsetSeconds)
        #expect(good.error == nil && abs(offset) <= 2)
        fixture.server.configure { $0.clockOffset = 3600 }
        let skewed = try check(fixture.client).get()
        let ahead = try #require(skewed.clockOffsetSeconds)
        #expect(skewed.error == nil && abs(ahead - 3600) <= 2)
        fixture.server.removeBucket("bucket")
        #expect(try check(fixture.client).get().error == .noSuchBucket)
        let nobody = Fixture.client(try Endpoint(url: "http://127.0.0.1:1"), fixture.engine) {
            $0.requestTimeoutMs = 100
        }
        guard case .failure(.network) = try check(nobody) else {
            Issue.record("nobody answered, and it was no error")
            return
        }
    }

    @Test func archivedObjectsAreToldApart() throws {
        let fixture = try Fixture()
        fixture.server.put("bucket", ObjectKey("g"), StoredObject(.text("x"), storageClass: "GLACIER"))
        #expect(try fixture.head("g").get().isReadable == false)
        #expect(try fixture.list(ListRequest(prefix: ObjectKey("g"))).get().objects.map(\.isReadable) == [false])
        #expect(try fixture.get("g", 0..<1).error == .archived)
    }
}
