import S3
import TestSupport
import Testing
import Threads

/// Collects a GET.
final class Collector: GetReceiver {
    private let bytes = Locked<[UInt8]>([])
    let end = Promise<Result<ObjectMetadata, S3Error>>()
    var received: [UInt8] { bytes.withLock { $0 } }

    func received(_ chunk: UnsafeRawBufferPointer, at offset: UInt64) { bytes.withLock { $0 += Array(chunk) } }
    func finished(_ result: Result<ObjectMetadata, S3Error>) { end.fulfil(result) }

    func wait() -> Result<ObjectMetadata, S3Error>? { end.wait(until: .now.advanced(byMs: 20_000)) }
    var isFinished: Bool { end.wait(until: .now) != nil }
}

@Suite struct MemoryStoreTests {
    let body = ObjectBody.generated(size: 1_000_003, seed: 7)

    @Test func generatedBytesAreTheSameHoweverTheyAreRead() {
        let whole = body.bytes(in: 0..<body.size)
        #expect(whole.count == 1_000_003)
        for (start, end) in [(0, 1), (1, 9), (7, 8), (13, 1000), (999_999, 1_000_003)] {
            #expect(body.bytes(in: UInt64(start)..<UInt64(end)) == Array(whole[start..<end]))
        }
        #expect(whole != ObjectBody.generated(size: 1_000_003, seed: 8).bytes(in: 0..<body.size))
    }

    @Test func aGetIsDeliveredInChunksWhenTheTestSaysSo() {
        let store = MemoryStore(.manual)
        let etag = store.put("a", body)
        let collector = Collector()
        store.get(GetRequest(key: ObjectKey("a"), range: 5..<600_005, etag: etag), collector)
        #expect(!collector.isFinished && store.counts.active == 1)
        #expect(store.step())
        #expect(collector.received.count == 256 * 1024)
        store.run()
        #expect(collector.isFinished && collector.received == body.bytes(in: 5..<600_005))
        #expect(store.counts.active == 0 && store.counts.bytes == 600_000)
    }

    @Test func aCutIsRepairedUnlessTheObjectWasReplaced() {
        let store = MemoryStore(.manual)
        let etag = store.put("a", body)
        store.inject(MemoryFault(.cut(afterBytes: 1000), on: .get))
        let whole = Collector()
        store.get(GetRequest(key: ObjectKey("a"), range: 0..<body.size, etag: etag), whole)
        store.run()
        #expect(whole.received == body.bytes(in: 0..<body.size) && store.counts.retries == 1)

        store.inject(MemoryFault(.replace(afterBytes: 1000, by: StoredObject(.text("new"))), on: .get))
        let broken = Collector()
        store.get(GetRequest(key: ObjectKey("a"), range: 0..<body.size, etag: etag), broken)
        store.run()
        #expect(broken.wait() == .failure(.changed) && broken.received == body.bytes(in: 0..<1000))
    }

    @Test func threadsDeliverAndCancelEnds() {
        let store = MemoryStore(.threads(2))
        defer { store.stop() }
        store.put("a", body)
        let collector = Collector()
        store.get(GetRequest(key: ObjectKey("a"), range: 0..<body.size), collector)
        #expect((try? collector.wait()?.get())?.size == body.size)
        #expect(collector.received == body.bytes(in: 0..<body.size))
        store.inject(MemoryFault(.silence, on: .get))
        let silent = Collector()
        let transfer = store.get(GetRequest(key: ObjectKey("a"), range: 0..<1), silent)
        transfer.cancel()
        #expect(silent.wait() == .failure(.cancelled))
    }

    @Test func listingsGroupPageAndGoOn() {
        let store = MemoryStore(.manual)
        for key in ["a", "a/1", "a/2", "b/1/x", "b/2", "c"] { store.put(key, "x") }
        var names: [String] = []
        var token: String?
        var pages = 0
        repeat {
            let page = Locked<ListPage?>(nil)
            store.list(
                ListRequest(prefix: ObjectKey(""), delimiter: 47, continuationToken: token, maxKeys: 1)
            ) { result in page.withLock { $0 = try? result.get() } }
            store.run()
            let found = page.withLock { $0 }!
            names += (found.objects.map(\.key) + found.prefixes).map {
                String(decoding: found.bytes[$0], as: UTF8.self)
            }
            token = found.nextToken
            pages += 1
        } while token != nil
        #expect(names == ["a", "a/", "b/", "c"] && pages == 4)
    }

    @Test func faultsHitTheRequestsTheyName() {
        let store = MemoryStore(.manual)
        store.put("a", "x")
        store.inject(MemoryFault(.fail(.timedOut), on: .head, key: "a", skip: 1, count: 2))
        let results = Locked<[Bool]>([])
        for _ in 0..<4 {
            store.head(ObjectKey("a")) { result in results.withLock { $0.append((try? result.get()) != nil) } }
            store.run()
        }
        #expect(results.withLock { $0 } == [true, false, false, true])
    }
}
