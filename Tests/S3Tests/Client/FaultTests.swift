import TestSupport
import Testing
import Threads

@testable import S3

/// A server that misbehaves: each fault ends in the right bytes or the right error.
@Suite(.serialized) struct FaultTests {
    private static let size = 400_000

    /// Reads the whole object in the face of faults.
    private func read(_ faults: ServerFault..., configure: (inout S3Configuration) -> Void = { _ in }) throws -> (
        got: Collected, expected: [UInt8], fixture: Fixture
    ) {
        let fixture = try Fixture(configure)
        let object = fixture.put("k", size: Self.size)
        for fault in faults { fixture.server.inject(fault) }
        let got = try fixture.get("k", 0..<UInt64(Self.size), etag: object.etag, size: UInt64(Self.size))
        return (got, object.bytes, fixture)
    }

    @Test(arguments: [
        ServerFault.status(500, "InternalError", count: 3), .status(503, "SlowDown", count: 3),
        .status(429, "TooManyRequests"), .status(502, "", count: 2), .status(400, "RequestTimeout"),
        ServerFault { $0.resetAfter = -1 }, ServerFault(count: 3) { $0.resetAfter = 1000 },
        ServerFault(count: 3) { $0.truncateAfter = 100_000 }, ServerFault(count: 2) { $0.truncateAfter = 0 },
        ServerFault { $0.stallAfter = 50_000 }, ServerFault { $0.isSilent = true },
        ServerFault(count: -1) { $0.ignoresRange = true }, ServerFault { $0.extraBytes = 10 },
        ServerFault { $0.body = "<html>sign in</html>" },
    ])
    func passingFaultsEndInTheRightBytes(fault: ServerFault) throws {
        let (got, expected, fixture) = try read(fault)
        #expect(got.error == nil)
        #expect(got.bytes == expected)
        #expect(fixture.metric("millrace_s3_connections_active") == "0")
    }

    @Test func aCutTransferGoesOnWhereItStoppedWithIfMatch() throws {
        let (got, expected, fixture) = try read(ServerFault(count: 2) { $0.truncateAfter = 100_000 })
        #expect(got.bytes == expected)
        #expect(fixture.server.log.map(\.range) == ["bytes=0-399999", "bytes=100000-399999", "bytes=200000-399999"])
        #expect(fixture.server.log.allSatisfy { $0.ifMatch != nil })
        #expect(fixture.metric("millrace_s3_resumed_total") == "2")
    }

    @Test func anUnpinnedReadIsPinnedToItsFirstAnswersVersion() throws {
        let fixture = try Fixture()
        _ = fixture.put("k", size: Self.size)
        fixture.server.inject(
            ServerFault(on: .get) {
                $0.truncateAfter = 100_000
                $0.replaceWithSeed = 9
            })
        #expect(try fixture.get("k", 0..<UInt64(Self.size)).error == .changed)
    }

    @Test func aServerThatIgnoresRangeIsReadFromTheMiddle() throws {
        let fixture = try Fixture()
        let object = fixture.put("k", size: Self.size)
        fixture.server.inject(ServerFault(count: -1) { $0.ignoresRange = true })
        let got = try fixture.get("k", 150_000..<250_000, etag: object.etag, size: UInt64(Self.size))
        #expect(got.error == nil && got.bytes == Array(object.bytes[150_000..<250_000]))
    }

    @Test func anotherVersionIsNeverTakenForTheOneAskedFor() throws {
        let wrong = try read(ServerFault(count: -1) { $0.etag = "another" })
        #expect(wrong.got.error == .changed && wrong.got.bytes.isEmpty)

        let fixture = try Fixture()
        let old = fixture.put("k", size: 1000, seed: 1)
        _ = fixture.put("k", size: 1000, seed: 2)
        #expect(try fixture.get("k", 0..<1000, etag: old.etag).error == .changed)
        fixture.server.inject(ServerFault(count: -1) { $0.ignoresIfMatch = true })
        let ignored = try fixture.get("k", 0..<1000, etag: old.etag)
        #expect(ignored.error == .changed && ignored.bytes.isEmpty)
    }

    @Test func anotherSizeIsAnotherVersion() throws {
        let fixture = try Fixture()
        let object = fixture.put("k", size: 1000)
        #expect(try fixture.get("k", 0..<1000, etag: object.etag, size: 999).error == .changed)
    }

    @Test func aRangeBeyondTheEndIsAnError() throws {
        let fixture = try Fixture()
        let object = fixture.put("k", size: 1000)
        #expect(try fixture.get("k", 5000..<6000, etag: object.etag).error == .changed)
        guard case .badAnswer = try fixture.get("k", 500..<2000).error else {
            Issue.record("a range beyond the end was answered")
            return
        }
    }

    @Test func lastingFaultsEndInTheirErrorWithinTheDeadline() throws {
        let outcomes: [(ServerFault, S3Error?)] = [
            (.status(500, "InternalError", count: -1), nil), (ServerFault(count: -1) { $0.isSilent = true }, .timedOut),
            (ServerFault(count: -1) { $0.bytesPerSecond = 1 }, .timedOut),
            (.status(404, "NoSuchKey"), .noSuchKey), (.status(404, "NoSuchBucket"), .noSuchBucket),
            (.status(403, "InvalidObjectState"), .archived),
            (
                .status(400, "KMS.DisabledException"),
                .denied(code: "KMS.DisabledException", message: "a fault that was asked for")
            ),
            (.status(403, "AccessDenied"), .denied(code: "AccessDenied", message: "a fault that was asked for")),
            (ServerFault(count: -1) { $0.resetAfter = -1 }, nil),
        ]
        for (fault, expected) in outcomes {
            let (got, _, _) = try read(fault) {
                $0.requestTimeoutMs = 700
                $0.minBytesPerSecond = 1 << 20
                $0.stallTimeoutMs = 200
            }
            #expect(got.error != nil, "\(fault)")
            if let expected { #expect(got.error == expected) }
        }
    }

    @Test func redirectsToAnotherRegionAreFollowedAndRemembered() throws {
        let fixture = try Fixture()
        let object = fixture.put("k", size: 10)
        fixture.server.configure { $0.region = "eu-central-1" }
        #expect(try fixture.get("k", 0..<10).bytes == object.bytes)
        #expect(fixture.client.currentEndpoint.region == "eu-central-1")
        let before = fixture.server.counts.requests
        #expect(try fixture.head("k").get().size == 10)
        #expect(fixture.server.counts.requests == before + 1)
    }

    @Test func redirectLoopsEnd() throws {
        let fixture = try Fixture()
        var regions = 0
        for _ in 0..<10 {
            regions += 1
            fixture.server.inject(
                ServerFault {
                    $0.status = 301
                    $0.code = "PermanentRedirect"
                    $0.headers = ["x-amz-bucket-region": "region-\(regions)"]
                })
        }
        guard case .status(301, "PermanentRedirect", _) = try fixture.get("k", 0..<10).error else {
            Issue.record("a redirect loop did not end in its own error")
            return
        }
        #expect(fixture.server.counts.requests == 4)
    }

    @Test(arguments: [3600, -7200]) func aWrongClockIsCorrectedOnce(offset: Int64) throws {
        let fixture = try Fixture()
        let object = fixture.put("k", size: 10)
        fixture.server.configure { $0.clockOffset = offset }
        #expect(try fixture.head("k").get().size == 10)  // A HEAD's 403 has no code, only the Date.
        #expect(try fixture.get("k", 0..<10).bytes == object.bytes)
        #expect(fixture.server.counts.requests == 3)
    }

    @Test func aLateFirstByteIsHedgedAndEachByteComesOnce() throws {
        let (got, expected, fixture) = try read(ServerFault { $0.delayMs = 5000 }) {
            $0.hedges = true
            $0.stallTimeoutMs = 60_000
        }
        #expect(got.error == nil && got.bytes == expected)
        #expect(fixture.metric("millrace_s3_hedges_total") == "1")
        #expect(fixture.metric("millrace_s3_hedges_won_total") == "1")
        #expect(fixture.metric("millrace_s3_connections_active") == "0")
    }

    @Test(arguments: HostileXML.allCases) func hostileListingsAreRefused(kind: HostileXML) throws {
        let fixture = try Fixture {
            $0.stallTimeoutMs = 30_000  // The server takes its time to make 32 MiB.
            $0.requestTimeoutMs = 30_000
            $0.retry.maxBadAnswers = 1
        }
        fixture.server.inject(ServerFault(on: .list, count: -1) { $0.hostile = kind })
        var request = ListRequest(prefix: ObjectKey(""))
        request.continuationToken = "again"
        guard case .failure(.badAnswer(let why)) = try fixture.list(request) else {
            Issue.record("a hostile listing was taken")
            return
        }
        #expect(!why.isEmpty && why.utf8.count < 300)
    }

    /// Also where the read is long: its bytes earn it no time as long as none come.
    @Test(arguments: [1, 64 << 20] as [UInt64]) func nobodyListensIsAnErrorInTheEnd(size: UInt64) throws {
        let engine = TransferEngine(threads: 1)
        defer { engine.stop() }
        let client = Fixture.client(try Endpoint(url: "http://127.0.0.1:1"), engine) { $0.requestTimeoutMs = 200 }
        guard case .network(let why) = try client.collect(GetRequest(key: ObjectKey("k"), range: 0..<size)).error else {
            Issue.record("no error of the network")
            return
        }
        #expect(why.contains("127.0.0.1"))
    }
}
