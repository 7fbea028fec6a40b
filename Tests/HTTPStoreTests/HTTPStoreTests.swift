import Curl
import Logging
import S3
import TestSupport
import Testing
import Threads

@testable import HTTPStore

/// A web server on loopback: the S3 stand-in answers plain GETs and HEADs, with ranges or without, and misbehaves.
final class Web {
    let server: S3Server
    let engine = TransferEngine(threads: 2)

    init() throws { server = try S3Server() }
    deinit {
        engine.stop()
        server.stop()
    }

    var base: String { "\(server.endpoint)/web/d/" }

    @discardableResult
    func put(_ path: String, _ bytes: [UInt8], type: String? = nil, etag: String? = nil) -> String {
        server.put("web", ObjectKey("d/" + path), StoredObject(.bytes(bytes), etag: etag, contentType: type))
    }

    func index(_ directory: String, _ names: [String]) {
        let links = names.map { "<a href=\"\($0)\">\($0)</a>" }.joined(separator: "\n")
        put(directory, Array("<html><a href=\"../\">../</a>\(links)</html>".utf8), type: "text/html")
    }

    func store(_ location: HTTPSource.Location, _ configure: (inout HTTPSource) -> Void = { _ in }) throws -> HTTPStore
    {
        var source = HTTPSource(location)
        source.connection.addresses = AddressPolicy(allowing: [AddressRange("127.0.0.0/8")!])
        source.requestTimeoutMs = 20_000
        source.stallTimeoutMs = 2_000
        configure(&source)
        return try HTTPStore(source, engine: engine, logger: Logger(label: "test"))
    }

    func gets(_ path: String) -> Int { server.log.count { $0.method == "GET" && $0.key == "d/" + path } }
}

private func wait<Value: Sendable>(_ start: (@escaping @Sendable (Value) -> Void) -> Void) throws -> Value {
    let promise = Promise<Value>()
    start { promise.fulfil($0) }
    return try #require(promise.wait(until: .now.advanced(byMs: 30_000)))
}

private final class Receiver: GetReceiver {
    let bytes = Locked<[UInt8]>([])
    let promise = Promise<Result<[UInt8], S3Error>>()
    func received(_ piece: UnsafeRawBufferPointer, at offset: UInt64) { bytes.withLock { $0 += piece } }
    func finished(_ result: Result<ObjectMetadata, S3Error>) {
        promise.fulfil(result.map { _ in bytes.withLock { $0 } })
    }
}

private func read(_ store: HTTPStore, _ key: String, _ range: Range<UInt64>, etag: String? = nil, size: UInt64? = nil)
    throws -> Result<[UInt8], S3Error>
{
    let receiver = Receiver()
    store.get(GetRequest(key: ObjectKey(key), range: range, etag: etag, size: size), receiver)
    return try #require(receiver.promise.wait(until: .now.advanced(byMs: 30_000)))
}

private func entries(_ page: ListPage) -> [String] {
    page.objects.map { "\(String(decoding: page.bytes[$0.key], as: UTF8.self)) \($0.size)" }
        + page.prefixes.map { String(decoding: page.bytes[$0], as: UTF8.self) }
}

private func list(_ store: HTTPStore, _ prefix: String, flat: Bool = false, after: String? = nil, maxKeys: Int = 1000)
    throws -> ListPage
{
    var request = ListRequest(prefix: ObjectKey(prefix), delimiter: flat ? nil : UInt8(ascii: "/"), maxKeys: maxKeys)
    request.startAfter = after.map { ObjectKey($0) }
    return try wait { store.list(request, $0) }.get()
}

@Suite(.serialized) struct HTTPStoreTests {
    private func tree(_ web: Web) {
        web.index("", ["b/", "a.txt", "z%20z.txt", "gone.txt"])
        web.index("b/", ["c.txt", "d/"])
        web.index("b/d/", ["e.txt"])
        for (path, count) in [("a.txt", 3), ("z z.txt", 4), ("b/c.txt", 5), ("b/d/e.txt", 6)] {
            web.put(path, [UInt8](repeating: 7, count: count))
        }
    }

    @Test func anIndexIsListedByDirectory() throws {
        let web = try Web()
        tree(web)
        let store = try web.store(.index(web.base))
        for (prefix, flat, after, expected) in [
            ("", false, nil, ["a.txt 3", "z z.txt 4", "b/"]), ("b/", false, nil, ["b/c.txt 5", "b/d/"]),
            ("b/c", false, nil, ["b/c.txt 5"]), ("nowhere/", false, nil, []),
            ("", false, "b/zzz", ["z z.txt 4", "b/"]),
            ("", true, nil, ["a.txt 3", "b/c.txt 5", "b/d/e.txt 6", "z z.txt 4"]),
        ] as [(String, Bool, String?, [String])] {
            let found = entries(try list(store, prefix, flat: flat, after: after))
            #expect(found == expected, "\(prefix)")
        }
    }

    @Test func pagesGoOnWhereTheyStopped() throws {
        let web = try Web()
        tree(web)
        let store = try web.store(.index(web.base))
        for delimiter in [UInt8(ascii: "/"), nil] {
            var all: [String] = []
            var request = ListRequest(prefix: ObjectKey(""), delimiter: delimiter, maxKeys: 1)
            for _ in 0..<10 {
                let page = try wait { store.list(request, $0) }.get()
                all += entries(page)
                request.continuationToken = page.nextToken
                if page.nextToken == nil { break }
            }
            #expect(
                Set(all)
                    == (delimiter == nil
                        ? ["a.txt 3", "b/c.txt 5", "b/d/e.txt 6", "z z.txt 4"] : ["a.txt 3", "b/", "z z.txt 4"]))
            #expect(all.count == Set(all).count)
        }
    }

    @Test func aListOfURLsIsADirectory() throws {
        let web = try Web()
        web.put("x/one.bin", [1, 2, 3])
        web.put("x/two", [4, 5])
        web.put("list.txt", Array("x/one.bin\n\(web.base)x/two sub/dir/two.bin\n".utf8), type: "text/plain")
        for store in [
            try web.store(.list(web.base + "list.txt")),
            try web.store(.urls(["\(web.base)x/one.bin", "\(web.base)x/two  sub/dir/two.bin"])),
        ] {
            #expect(entries(try list(store, "")) == ["one.bin 3", "sub/"])
            #expect(entries(try list(store, "sub/dir/")) == ["sub/dir/two.bin 2"])
            #expect(try read(store, "sub/dir/two.bin", 0..<2) == .success([4, 5]))
            #expect(try read(store, "none", 0..<2) == .failure(.noSuchKey))
        }
    }

    @Test func aRangeIsAskedForAndTheVersionCompared() throws {
        let web = try Web()
        let bytes = (0..<100_000).map { UInt8(truncatingIfNeeded: $0) }
        let tag = web.put("f", bytes)
        let store = try web.store(.index(web.base))
        #expect(try read(store, "f", 1000..<3000, etag: tag, size: 100_000) == .success(Array(bytes[1000..<3000])))
        #expect(web.server.log.last?.bytes == 2000)
        web.put("f", bytes.reversed())
        #expect(try read(store, "f", 0..<10, etag: tag, size: 100_000) == .failure(.changed))
        // A server that knows no If-Match is found out by its answer.
        web.server.inject(ServerFault(on: .get, key: "d/f", count: -1) { $0.ignoresIfMatch = true })
        #expect(try read(store, "f", 0..<10, etag: tag, size: 100_000) == .failure(.changed))
        #expect(try read(store, "f", 0..<10, size: 99_999) == .failure(.changed))
        #expect(try wait { store.head(ObjectKey("f"), $0) }.get().size == 100_000)
        #expect(try wait { store.head(ObjectKey("none"), $0) } == .failure(.noSuchKey))
    }

    @Test func withoutRangesABodyIsFetchedOnce() throws {
        let web = try Web()
        let bytes = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 / 7) }
        let tag = web.put("f", bytes)
        web.server.inject(ServerFault(on: .get, key: "d/f", count: -1) { $0.ignoresRange = true })
        let store = try web.store(.index(web.base))
        #expect(try read(store, "f", 200_000..<200_100, etag: tag) == .success(Array(bytes[200_000..<200_100])))
        for start in stride(from: 0, to: 300_000, by: 50_000) {
            let range = UInt64(start)..<UInt64(start + 1000)
            #expect(try read(store, "f", range, etag: tag) == .success(Array(bytes[start..<start + 1000])))
        }
        #expect(web.gets("f") == 1)
        // Another version is another body.
        let next = web.put("f", bytes.reversed())
        #expect(try read(store, "f", 0..<4, etag: next) == .success(Array(bytes.reversed().prefix(4))))
        #expect(try read(store, "f", 0..<4, etag: tag) == .failure(.changed))
    }

    @Test func aBodyThatBreaksOffIsFetchedAgain() throws {
        let web = try Web()
        let bytes = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 / 7) }
        web.put("f", bytes)
        web.server.inject(
            ServerFault(on: .get, key: "d/f", count: 2) {
                $0.ignoresRange = true
                $0.resetAfter = 100_000
            })
        web.server.inject(ServerFault(on: .get, key: "d/f", count: -1) { $0.ignoresRange = true })
        let store = try web.store(.index(web.base))
        #expect(try read(store, "f", 250_000..<251_000) == .success(Array(bytes[250_000..<251_000])))
        #expect(web.gets("f") == 3)
    }

    @Test func aReadThatBreaksOffGoesOnWhereItStopped() throws {
        let web = try Web()
        let bytes = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 / 7) }
        let tag = web.put("f", bytes)
        web.server.inject(ServerFault(on: .get, key: "d/f") { $0.resetAfter = 100_000 })
        web.server.inject(.status(503, "SlowDown", on: .get, key: "d/f", count: 2))
        let store = try web.store(.index(web.base))
        #expect(try read(store, "f", 0..<300_000, etag: tag) == .success(bytes))
        #expect(web.server.log.last?.range?.hasPrefix("bytes=0-") == false)
    }

    @Test func manyReadAtOnce() throws {
        let web = try Web()
        let bytes = (0..<500_000).map { UInt8(truncatingIfNeeded: $0 / 11) }
        web.put("f", bytes)
        web.server.inject(ServerFault(on: .get, key: "d/f", count: -1) { $0.ignoresRange = true })
        let store = try web.store(.index(web.base)) { $0.maxConnections = 4 }
        let receivers = (0..<50).map { i in
            let receiver = Receiver()
            store.get(
                GetRequest(key: ObjectKey("f"), range: UInt64(i * 10_000)..<UInt64(i * 10_000 + 10_000)), receiver)
            return receiver
        }
        for (i, receiver) in receivers.enumerated() {
            let result = try #require(receiver.promise.wait(until: .now.advanced(byMs: 30_000)))
            #expect(result == .success(Array(bytes[i * 10_000..<i * 10_000 + 10_000])))
        }
    }

    @Test func aCancelledReadEnds() throws {
        let web = try Web()
        web.put("f", [UInt8](repeating: 1, count: 1000))
        web.server.inject(ServerFault(on: .get, key: "d/f", count: -1) { $0.isSilent = true })
        let store = try web.store(.index(web.base))
        let receiver = Receiver()
        store.get(GetRequest(key: ObjectKey("f"), range: 0..<10), receiver).cancel()
        #expect(try #require(receiver.promise.wait(until: .now.advanced(byMs: 20_000))) == .failure(.cancelled))
    }

    @Test func redirectsAreFollowedAndHeadersStayWithTheirHost() throws {
        let web = try Web()
        let other = try Web()
        other.put("f", [9, 9])
        web.server.inject(
            ServerFault(on: .get, key: "d/f", count: -1) {
                $0.status = 302
                $0.location = other.base + "f"
            })
        web.server.inject(
            ServerFault(on: .head, key: "d/f", count: -1) {
                $0.status = 302
                $0.location = other.base + "f"
            })
        let store = try web.store(.index(web.base)) { $0.authenticate(user: "u", password: "p") }
        #expect(try read(store, "f", 0..<2) == .success([9, 9]))
        #expect(try wait { store.head(ObjectKey("f"), $0) }.get().size == 2)
        web.server.clearFaults()
        web.server.inject(
            ServerFault(on: .get, key: "d/f", count: -1) {
                $0.status = 302
                $0.location = "self"
            })
        guard case .failure(.network) = try read(store, "f", 0..<2) else {
            Issue.record("an endless redirect was followed")
            return
        }
    }

    @Test func addressesOfTheMachineAreRefused() throws {
        let web = try Web()
        web.put("f", [1])
        let store = try web.store(.index(web.base)) {
            $0.connection.addresses = AddressPolicy()
            $0.requestTimeoutMs = 300
        }
        guard case .failure(.network(let why)) = try read(store, "f", 0..<1) else {
            Issue.record("loopback was reached")
            return
        }
        #expect(why.contains("loopback"))
        #expect(web.server.log.isEmpty)
    }

    @Test(arguments: ["ftp://h/", "https://user:secret@h/", "nonsense/", "http:///"])
    func wrongURLsAreRefusedAndNotRepeated(_ url: String) throws {
        let web = try Web()
        #expect {
            _ = try web.store(.index(url))
        } throws: { !"\($0)".contains("secret") && "\($0)".contains("URL") }
    }
}
