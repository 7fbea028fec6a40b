import TestSupport
import Testing
import Threads

@testable import S3

/// Requests that go well, against a server that checks each signature.
@Suite(.serialized) struct RequestTests {
    @Test func readsRangesOfAnObject() throws {
        let fixture = try Fixture.patient()
        let object = fixture.put("data/file", size: 300_000)
        for range in [0..<300_000, 0..<1, 299_999..<300_000, 65_536..<131_072] {
            let got = try fixture.get(
                "data/file", UInt64(range.lowerBound)..<UInt64(range.upperBound), etag: object.etag, size: 300_000)
            #expect(got.bytes == Array(object.bytes[range]))
            #expect(try got.result.get().etag == object.etag && got.result.get().size == 300_000)
        }
        let entry = try #require(fixture.server.log.last)
        #expect(entry.range == "bytes=65536-131071" && entry.ifMatch == "\"\(object.etag)\"")
    }

    @Test(arguments: [
        "plain", "a b+c%20&=?#", "a//b/./../c", "/leading", "trailing/", "ünïcödé/😀", "new\nline\ttab", "..", ".",
        "~!@$^*()_-[]{}|\\:;\"'<>,", String(repeating: "k", count: 1024),
    ])
    func anyKeyIsReachedAsItIs(key: String) throws {
        let fixture = try Fixture.patient()
        let object = fixture.put(key, size: 10)
        #expect(try fixture.head(key).get().size == 10)
        #expect(try fixture.get(key, 0..<10).bytes == object.bytes)
        #expect(try fixture.list(ListRequest(prefix: ObjectKey(key))).get().keys == [ObjectKey(key)])
    }

    @Test func keysOfBytesThatAreNoTextAreReachedToo() throws {
        let fixture = try Fixture.patient()
        let key = ObjectKey([0xFF, 0x00, 0x80, 0x2F, 0xC0])
        fixture.server.put("bucket", key, StoredObject(.text("x")))
        #expect(try fixture.list(ListRequest(prefix: ObjectKey([0xFF]))).get().keys == [key])
        #expect(try fixture.get(GetRequest(key: key, range: 0..<1)).bytes == Array("x".utf8))
    }

    @Test func listsPageByPageAndByDirectory() throws {
        let fixture = try Fixture.patient()
        let keys = (0..<2500).map { "d\($0 % 7)/f\($0)" }
        for key in keys { fixture.server.put("bucket", key, "x") }
        var found: [ObjectKey] = []
        var request = ListRequest(prefix: ObjectKey("d"))
        repeat {
            let page = try fixture.list(request).get()
            found += page.keys
            request.continuationToken = page.nextToken
        } while request.continuationToken != nil
        #expect(found == keys.map { ObjectKey($0) }.sorted())
        let page = try fixture.list(ListRequest(prefix: ObjectKey(""), delimiter: UInt8(ascii: "/"))).get()
        #expect(page.prefixKeys == (0..<7).map { ObjectKey("d\($0)/") } && page.keys.isEmpty)
        let after = try fixture.list(ListRequest(prefix: ObjectKey("d3/"), startAfter: ObjectKey("d3/f5"), maxKeys: 3))
            .get()
        #expect(after.keys.count == 3 && after.keys.allSatisfy { $0 > ObjectKey("d3/f5") })
    }

    @Test func manyRequestsAtOnceShareFewConnections() throws {
        let fixture = try Fixture.patient { $0.maxConnections = 8 }
        let object = fixture.put("k", size: 200_000)
        let collectors = (0..<200).map { i in
            let start = UInt64(i * 1000)
            let collector = Collector(from: start)
            fixture.client.get(
                GetRequest(key: ObjectKey("k"), range: start..<(start + 1000), etag: object.etag), collector)
            return collector
        }
        for (i, collector) in collectors.enumerated() {
            #expect(try collector.promise.value().bytes == Array(object.bytes[(i * 1000)..<(i * 1000 + 1000)]))
        }
        #expect(fixture.server.counts.peakConnections <= 8)
        #expect(fixture.server.counts.connections <= 8)
        #expect(fixture.metric("millrace_s3_requests_total{operation=\"get\",status=\"2xx\"}") == "200")
        #expect(fixture.metric("millrace_s3_received_bytes_total") == "200000")
        #expect(fixture.metric("millrace_s3_connections_active") == "0")
        #expect(fixture.metric("millrace_s3_requests_queued") == "0")
    }

    @Test func whatIsDemandedOvertakesWhatIsReadAhead() throws {
        let fixture = try Fixture(threads: 1) { $0.maxConnections = 1 }
        _ = fixture.put("k", size: 100)
        fixture.server.configure { $0.latencyMs = 5 }
        let order = Locked<[String]>([])
        func start(_ name: String, _ priority: Priority) -> (Collector, any Transfer) {
            let collector = Collector(from: 0) { _ in order.withLock { $0.append(name) } }
            return (
                collector,
                fixture.client.get(GetRequest(key: ObjectKey("k"), range: 0..<100, priority: priority), collector)
            )
        }
        let first = start("first", .warmUp)
        let warm = start("warm", .warmUp)
        let raised = start("raised", .warmUp)
        let ahead = start("ahead", .readAhead)
        let demand = start("demand", .demand)
        raised.1.raise(to: .demand)
        for item in [first, warm, raised, ahead, demand] { #expect(try item.0.promise.value().error == nil) }
        #expect(order.withLock { $0 } == ["first", "demand", "raised", "ahead", "warm"])
    }

    @Test func stoppingTheEngineEndsEveryRequest() throws {
        let fixture = try Fixture.patient { $0.maxConnections = 4 }
        _ = fixture.put("k", size: 100)
        fixture.server.inject(ServerFault(on: .get, count: 2) { $0.isSilent = true })
        fixture.server.inject(.status(503, "SlowDown", on: .get, count: -1))
        let collectors = (0..<100).map { _ in Collector(from: 0) }
        for collector in collectors { fixture.client.get(GetRequest(key: ObjectKey("k"), range: 0..<100), collector) }
        fixture.engine.stop()
        for collector in collectors { #expect(try collector.promise.value().error == .cancelled) }
        #expect(try fixture.get("k", 0..<1).error == .cancelled)
        #expect(try fixture.head("k") == .failure(.cancelled))
    }

    @Test func cancellingEndsAWaitingAndARunningRequest() throws {
        let fixture = try Fixture(threads: 1) { $0.maxConnections = 1 }
        _ = fixture.put("k", size: 100)
        fixture.server.inject(ServerFault(on: .get) { $0.isSilent = true })
        let collectors = [Collector(from: 0), Collector(from: 0), Collector(from: 0)]
        let transfers = collectors.map { fixture.client.get(GetRequest(key: ObjectKey("k"), range: 0..<100), $0) }
        transfers[1].cancel()
        #expect(try collectors[1].promise.value().error == .cancelled)
        transfers[0].cancel()
        #expect(try collectors[0].promise.value().error == .cancelled)
        #expect(try collectors[2].promise.value().error == nil)
        transfers[2].cancel()  // Too late, and harmless.
    }
}
