import Namespace
import S3
import TestSupport
import Testing
import Threads

@testable import Manifests

@Suite struct StoreTests {
    /// A manifest of what is in the store now.
    private func snapshot(_ store: MemoryStore, prefix: String = "") throws -> Manifest {
        var bytes: [UInt8] = []
        let snapshot = Snapshot(bucket: "b", prefix: ObjectKey(prefix), created: 1) { store.list($0, $1) }
        _ = try snapshot.write(to: { bytes += $0 })
        return try opened(bytes)
    }

    private func randomKeys(_ count: Int, _ random: inout Random) -> Set<String> {
        let parts = ["a", "b", "dir", "dir-2", "x y", "ü", "\u{10FFFF}", "0", "."]
        var keys: Set<String> = []
        while keys.count < count {
            let depth = Int.random(in: 1...4, using: &random)
            var key = (0..<depth).map { _ in parts.randomElement(using: &random)! }.joined(separator: "/")
            key += String(Int.random(in: 0...999, using: &random))
            if Int.random(in: 0...20, using: &random) == 0 { key += "/" }
            keys.insert(key)
        }
        return keys
    }

    @Test(arguments: [1, 2, 3] as [UInt64]) func listsAsTheStoreDid(seed: UInt64) throws {
        var random = Random(seed)
        let memory = MemoryStore()
        defer { memory.stop() }
        for key in randomKeys(2_000, &random) { memory.put(key, key) }
        let store = ManifestStore(try snapshot(memory), store: memory)
        memory.clearLog()
        for _ in 0..<60 {
            var request = ListRequest(
                prefix: ObjectKey(["", "dir/", "dir", "a/b/", "zzz", "dir-2/x y"].randomElement(using: &random)!))
            request.delimiter = Bool.random(using: &random) ? UInt8(ascii: "/") : nil
            request.maxKeys = [1, 7, 1000].randomElement(using: &random)!
            if Bool.random(using: &random) { request.startAfter = ObjectKey(randomKeys(1, &random).first!) }
            var other = request
            for _ in 0..<30 {
                let mine = try wait { store.list(request, $0) }.get()
                let theirs = try wait { memory.list(other, $0) }.get()
                guard keys(mine) == keys(theirs), prefixes(mine) == prefixes(theirs) else {
                    Issue.record("seed \(seed): \(request) differs")
                    return
                }
                #expect((mine.nextToken == nil) == (theirs.nextToken == nil))
                guard mine.nextToken != nil else { break }
                request.continuationToken = mine.nextToken
                other.continuationToken = theirs.nextToken
            }
        }
    }

    @Test func readsTheVersionOfTheSnapshotAndNoOther() throws {
        let memory = MemoryStore()
        defer { memory.stop() }
        for (key, text) in [("same", "one"), ("replaced", "old"), ("deleted", "gone")] { memory.put(key, text) }
        let store = ManifestStore(try snapshot(memory), store: memory)
        memory.put("replaced", "new!")
        memory.delete("deleted")
        memory.put("added", "later")
        memory.clearLog()

        #expect(try read(store, GetRequest(key: ObjectKey("same"), range: 0..<3)) == .success(Array("one".utf8)))
        #expect(try read(store, GetRequest(key: ObjectKey("replaced"), range: 0..<3)) == .failure(.changed))
        #expect(try read(store, GetRequest(key: ObjectKey("deleted"), range: 0..<4)) == .failure(.changed))
        #expect(try read(store, GetRequest(key: ObjectKey("added"), range: 0..<5)) == .failure(.noSuchKey))
        #expect(try read(store, GetRequest(key: ObjectKey("same"), range: 0..<3, etag: "other")) == .failure(.changed))
        let listed = try wait { store.list(ListRequest(prefix: ObjectKey("")), $0) }.get()
        #expect(keys(listed) == ["deleted", "replaced", "same"])
        let head = try wait { store.head(ObjectKey("deleted"), $0) }.get()
        #expect(head.size == 4)
        #expect(try wait { store.head(ObjectKey("added"), $0) } == .failure(.noSuchKey))
        #expect(memory.counts.lists == 0 && memory.counts.heads == 0)
    }

    /// With an ID of a version the request says that and no ETag, as the object's newest version has another.
    @Test func asksForTheVersionByItsID() throws {
        final class Recorder: ObjectStore {
            let requests = Locked<[GetRequest]>([])
            final class Nothing: Transfer {
                func cancel() {}
                func raise(to priority: Priority) {}
            }
            func get(_ request: GetRequest, _ receiver: any GetReceiver) -> any Transfer {
                requests.withLock { $0.append(request) }
                Array("old".utf8).withUnsafeBytes { receiver.received($0, at: 0) }
                receiver.finished(.success(ObjectMetadata(size: 3, etag: "real")))
                return Nothing()
            }
            func head(_ key: ObjectKey, _ completion: @escaping @Sendable (Result<ObjectMetadata, S3Error>) -> Void) {}
            func list(_ request: ListRequest, _ completion: @escaping @Sendable (Result<ListPage, S3Error>) -> Void) {}
        }
        let rows = [Row(key: "n", size: 3, version: "null"), Row(key: "v", size: 3, version: "abcdVERSION12")]
        let recorder = Recorder()
        let store = ManifestStore(try opened(try written([page(rows)]).bytes), store: recorder)
        let listed = try wait { store.list(ListRequest(prefix: ObjectKey("")), $0) }.get()
        let tags = listed.objects.map { String(decoding: listed.bytes[$0.etag], as: UTF8.self) }
        #expect(tags == [rows[0].etag, "abcdVERSION12"])
        for (key, tag) in zip(["n", "v"], tags) {
            #expect(
                try read(store, GetRequest(key: ObjectKey(key), range: 0..<3, etag: tag)) == .success(Array("old".utf8))
            )
        }
        let requests = recorder.requests.withLock { $0 }
        #expect(requests.map(\.versionID) == ["null", "abcdVERSION12"])
        #expect(requests.map(\.etag) == [rows[0].etag, nil])
        #expect(requests.allSatisfy { $0.size == 3 })
    }

    @Test func aManifestThatFailsToLoadIsAskedForAgain() throws {
        let memory = MemoryStore()
        defer { memory.stop() }
        memory.put("a", "x")
        let manifest = try snapshot(memory)
        let attempts = Locked(0)
        let store = ManifestStore(store: memory) { completion in
            let attempt = attempts.withLock { attempts in
                attempts += 1
                return attempts
            }
            completion(attempt == 1 ? .failure(.timedOut) : .success(manifest))
        }
        #expect(try read(store, GetRequest(key: ObjectKey("a"), range: 0..<1)) == .failure(.timedOut))
        #expect(try read(store, GetRequest(key: ObjectKey("a"), range: 0..<1)) == .success(Array("x".utf8)))
        #expect(attempts.withLock { $0 } == 2)
    }

    @Test func aManifestIsFetchedByOneHeadAndOneGet() throws {
        let memory = MemoryStore()
        defer { memory.stop() }
        let rows = (0..<5_000).map { Row(key: "k\(10_000 + $0)") }
        memory.put("m", try written([page(rows)]).bytes)
        let manifest = try wait { ManifestDownload.fetch(ObjectKey("m"), from: memory, $0) }.get()
        #expect(manifest.info.objects == 5_000)
        #expect(memory.counts.gets == 1 && memory.counts.heads == 1 && memory.counts.lists == 0)
        try manifest.verify()
        memory.put("bad", Array("something else that is no manifest, but long enough to be looked at as one....".utf8))
        guard
            case .failure(.badAnswer(let why)) = try wait({ ManifestDownload.fetch(ObjectKey("bad"), from: memory, $0) }
            )
        else {
            Issue.record("it was taken")
            return
        }
        #expect(why.contains("no manifest"))
    }

    @Test func whatIsNotTheDatasetsIsLeftOut() throws {
        let memory = MemoryStore()
        defer { memory.stop() }
        for key in ["a", ".millrace/revisions/uid/r1", ".millrace/other", "b/.millrace/revisions/x"] {
            memory.put(key, "x")
        }
        let listed = try snapshot(memory).list(ListRequest(prefix: ObjectKey("")))
        #expect(keys(listed) == [".millrace/other", "a", "b/.millrace/revisions/x"])
    }
}

/// Keys of revisions: nothing but a manifest can have one.
@Suite struct RevisionKeyTests {
    @Test func liesInTheRevisionsDirectory() throws {
        let key = try #require(RevisionKey(prefix: "backup/", owner: "uid-1", name: "r1.manifest"))
        #expect(key.objectKey == ObjectKey("backup/.millrace/revisions/uid-1/r1.manifest"))
    }

    @Test(arguments: [
        ("p", "o", "n"), ("", "", "n"), ("", "o", ""), ("", "..", "n"), ("", "o", ".."), ("", "a/b", "n"),
        ("", "o", "a/b"), ("", "o", "a b"),
    ])
    func refuses(prefix: String, owner: String, name: String) {
        #expect(RevisionKey(prefix: prefix, owner: owner, name: name) == nil)
    }
}
