import TestSupport
import Testing
import Threads

@testable import S3

/// Many requests at once in the face of many faults of all kinds: each ends in the right bytes.
@Suite(.serialized) struct StormTests {
    private static func fault(_ random: inout Seeded) -> ServerFault {
        let at = UInt64.random(in: 0..<60_000, using: &random)
        var fault: ServerFault
        switch Int.random(in: 0..<10, using: &random) {
        case 0: fault = .status(500, "InternalError")
        case 1: fault = .status(503, "SlowDown")
        case 2: fault = ServerFault { $0.truncateAfter = at }
        case 3: fault = ServerFault { $0.resetAfter = Int64(at) - 1 }
        case 4: fault = ServerFault { $0.stallAfter = at }
        case 5: fault = ServerFault { $0.ignoresRange = true }
        case 6: fault = ServerFault { $0.extraBytes = 5 }
        case 7: fault = ServerFault { $0.isSilent = true }
        case 8: fault = ServerFault { $0.delayMs = 100 }
        default: fault = .status(400, "RequestTimeout")
        }
        fault.operation = .get
        fault.skip = Int.random(in: 0..<50, using: &random)
        return fault
    }

    @Test(arguments: [Seeded.seed, 1]) func everyReadEndsInTheRightBytes(seed: UInt64) throws {
        var random = Seeded(seed)
        let fixture = try Fixture {
            $0.requestTimeoutMs = 60_000
            $0.maxConnections = 24
            $0.hedges = true
        }
        let size = 1_000_000
        let object = fixture.put("k", size: size)
        for _ in 0..<200 { fixture.server.inject(Self.fault(&random)) }
        let ranges = (0..<300).map { _ in
            let start = Int.random(in: 0..<(size - 1), using: &random)
            return start..<min(size, start + Int.random(in: 1..<80_000, using: &random))
        }
        let collectors = ranges.map { range in
            let collector = Collector(from: UInt64(range.lowerBound))
            let request = GetRequest(
                key: ObjectKey("k"), range: UInt64(range.lowerBound)..<UInt64(range.upperBound), etag: object.etag,
                size: UInt64(size), priority: Priority.allCases[range.lowerBound % 3])
            fixture.client.get(request, collector)
            return collector
        }
        for (range, collector) in zip(ranges, collectors) {
            let got = try collector.promise.value(withinMs: 90_000)
            #expect(got.error == nil, "repeat with MILLRACE_SEED=\(seed)")
            #expect(got.bytes == Array(object.bytes[range]), "repeat with MILLRACE_SEED=\(seed)")
        }
        #expect(fixture.metric("millrace_s3_connections_active") == "0")
        #expect(fixture.metric("millrace_s3_requests_queued") == "0")
    }

    @Test func aStormOfSlowDownPasses() throws {
        let fixture = try Fixture { $0.requestTimeoutMs = 60_000 }
        let object = fixture.put("k", size: 1000)
        fixture.server.inject(.status(503, "SlowDown", on: .get, count: 150))
        let collectors = (0..<200).map { _ in Collector(from: 0) }
        for collector in collectors { fixture.client.get(GetRequest(key: ObjectKey("k"), range: 0..<1000), collector) }
        for collector in collectors { #expect(try collector.promise.value(withinMs: 90_000).bytes == object.bytes) }
        #expect(fixture.metric("millrace_s3_errors_total{operation=\"get\",code=\"SlowDown\"}") == "150")
    }
}
