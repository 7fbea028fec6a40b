import Glibc
import Testing
import Threads

@testable import TestSupport

private func exchange(_ server: S3Server, _ request: String, body: String = "") -> String {
    exchange(port: server.port, request + "\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n" + body) ?? "no connection"
}

@Suite struct S3ServerTests {
    private func serving(_ body: (S3Server) throws -> Void) throws {
        let server = try S3Server()
        defer { server.stop() }
        server.put("b", "a/text", "0123456789")
        try body(server)
        #expect(server.counts.connections > 0)
    }

    @Test func rangesAndConditions() throws {
        try serving { server in
            let part = exchange(server, "GET /b/a/text HTTP/1.1\r\nRange: bytes=2-4")
            #expect(
                part.hasPrefix("HTTP/1.1 206") && part.contains("Content-Range: bytes 2-4/10")
                    && part.hasSuffix("\r\n\r\n234"))
            #expect(exchange(server, "GET /b/a/text HTTP/1.1\r\nRange: bytes=10-").hasPrefix("HTTP/1.1 416"))
            #expect(exchange(server, "GET /b/a/text HTTP/1.1\r\nIf-Match: \"x\"").hasPrefix("HTTP/1.1 412"))
            #expect(exchange(server, "GET /b/none HTTP/1.1").contains("<Code>NoSuchKey</Code>"))
            #expect(exchange(server, "HEAD /c HTTP/1.1").hasPrefix("HTTP/1.1 404"))
        }
    }

    @Test func faultsHappenAsOftenAsAsked() throws {
        try serving { server in
            server.inject(.status(503, "SlowDown", on: .get, key: "a/text", skip: 1, count: 2))
            let statuses = (0..<4).map { _ in exchange(server, "GET /b/a/text HTTP/1.1").prefix(12).suffix(3) }
            #expect(statuses == ["200", "503", "503", "200"])
            server.inject(ServerFault(on: .get) { $0.truncateAfter = 3 })
            #expect(exchange(server, "GET /b/a/text HTTP/1.1").hasSuffix("\r\n\r\n012"))
            server.inject(ServerFault(on: .get) { $0.resetAfter = 3 })
            #expect(exchange(server, "GET /b/a/text HTTP/1.1").hasSuffix("ECONNRESET"))
            server.inject(ServerFault(on: .get) { $0.extraBytes = 2 })
            #expect(exchange(server, "GET /b/a/text HTTP/1.1").hasSuffix("0123456789XX"))
        }
    }

    @Test func aMistypedFaultIsRefused() throws {
        try serving { server in
            func post(_ json: String) -> String {
                exchange(server, "POST /__control/faults HTTP/1.1\r\nContent-Length: \(json.utf8.count)", body: json)
            }
            #expect(post(#"{"operation": "get", "on": "get", "status": 503}"#).contains("no fault has the name on"))
            #expect(exchange(server, "GET /b/a/text HTTP/1.1").hasPrefix("HTTP/1.1 200"))
            #expect(post(#"[{"operation": "get", "status": 503}]"#).hasPrefix("HTTP/1.1 204"))
            #expect(exchange(server, "GET /b/a/text HTTP/1.1").hasPrefix("HTTP/1.1 503"))
        }
    }

    @Test func listingsPageWithTokensAndEncodeNames() throws {
        try serving { server in
            server.put("b", "a b\n", "x")
            server.put("b", "z", "x")
            let first = exchange(server, "GET /b?list-type=2&delimiter=%2F&max-keys=2&encoding-type=url HTTP/1.1")
            #expect(first.contains("<Key>a%20b%0A</Key>") && first.contains("<Prefix>a/</Prefix>"))
            let token = first.split(separator: "NextContinuationToken>").dropFirst().first?.dropLast(2) ?? ""
            let second = exchange(
                server, "GET /b?list-type=2&delimiter=%2F&max-keys=2&continuation-token=\(token) HTTP/1.1")
            #expect(second.contains("<Key>z</Key>") && second.contains("<IsTruncated>false") && !second.contains("a/"))
        }
    }

    /// The example of AWS's documentation: "Signature Calculations for the Authorization Header", GET object.
    @Test func thePublishedSignatureIsAccepted() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        let check = SignatureCheck(
            credentials: [
                ServerCredentials(
                    accessKey: "AKIAIOSFODNN7EXAMPLE", secretKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
            ], region: "us-east-1", now: Timestamp.parseBasic("20130524T000000Z")!)
        var request = HTTPRequest(
            method: "GET", rawPath: "/test.txt", query: [],
            headers: [
                ("host", "examplebucket.s3.amazonaws.com"), ("range", "bytes=0-9"), ("x-amz-content-sha256", empty),
                ("x-amz-date", "20130524T000000Z"),
                (
                    "authorization",
                    "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
                        + "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
                        + "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
                ),
            ], keepsAlive: true)
        #expect(check.refusal(of: request) == nil)
        request.rawPath = "/other.txt"
        #expect(check.refusal(of: request)?.status == 403)
    }

    @Test func stoppingEndsSilentAnswers() throws {
        let server = try S3Server()
        server.put("b", "k", "x")
        server.inject(ServerFault(on: .get) { $0.isSilent = true })
        let answer = Promise<String>()
        let client = Thread("client") { answer.fulfil(exchange(server, "GET /b/k HTTP/1.1")) }
        while server.counts.requests == 0 { usleep(1000) }
        server.stop()
        client.join()
        #expect(answer.wait(until: .now) == "" && server.counts.openConnections == 0)
    }
}
