import S3
import SystemPackage
import Testing
import Threads

@testable import Namespace

@Suite struct ListingTests {
    @Test func entriesComeInOrderWithDotsFirst() throws {
        let world = World(["b", "a/1", "a-b", "c/d/e"])
        let stream = try world.namespace.openDirectory(rootInode).get()
        let (entries, errno) = world.read(stream, from: 0)
        #expect(errno == nil)
        #expect(entries.map(\.text) == [".", "..", "a-b", "a", "b", "c"] || entries.map(\.text) == [".", ".."])
        #expect(world.names() == ["a-b", "a", "b", "c"])
        #expect(entries[1].attributes.inode == rootInode)
        let c = try world.walk("c").get().inode
        let inside = try world.namespace.openDirectory(try world.walk("c/d").get().inode).get()
        #expect(world.read(inside, from: 0).entries[1].attributes.inode == c)
    }

    @Test func aSmallDirectoryIsOneList() throws {
        let world = World((0..<1000).map { "f\(1000 + $0)" })
        #expect(world.names().count == 1000)
        #expect(world.store.lists.count == 1)
        #expect(world.names().count == 1000)
        #expect(world.store.lists.count == 1)
    }

    @Test func firstEntriesComeBeforeTheListingIsComplete() throws {
        let world = World((0..<10_000).map { "f\(10_000 + $0)" })
        let stream = try world.namespace.openDirectory(rootInode).get()
        let first = world.read(stream, from: 0).entries
        #expect(first.count == 2)
        let second = world.read(stream, from: first[1].cookie).entries
        #expect(second.count > 900 && second.count < 1000)
        #expect(world.store.elapsedMs == 60)
    }

    @Test(arguments: [1, 2, 7, 100, 5000])
    func readsOfAnySizeGiveEveryEntryOnce(limit: Int) throws {
        let world = World((0..<2500).map { "f\(10_000 + $0)" })
        let entries = try world.list(limit: limit).get()
        #expect(entries.count == 2500)
        #expect(Set(entries.map(\.name)).count == 2500)
    }

    @Test func plusCountsALookupForEveryEntryThatWasTaken() throws {
        let world = World(["a", "b", "c", "d/e"])
        let stream = try world.namespace.openDirectory(rootInode).get()
        var cookie = world.read(stream, from: 0, limit: 2).entries[1].cookie
        let some = world.read(stream, from: cookie, plus: true, limit: 3).entries
        #expect(some.count == 3 && world.namespace.counts.inodes == 3)
        cookie = some[2].cookie
        #expect(world.read(stream, from: cookie, plus: true).entries.map(\.text) == ["d"])
        for entry in some { world.namespace.forget(entry.attributes.inode, lookups: 1) }
        #expect(world.namespace.counts.inodes == 1)
    }

    @Test func cookiesMeanTheSameInANewEngine() throws {
        let world = World((0..<2500).map { "f\(10_000 + $0)" })
        let all = try world.list().get()
        let next = World(after: world)
        let stream = try next.namespace.openDirectory(rootInode).get()
        let (entries, errno) = next.read(stream, from: all[1200].cookie)
        #expect(errno == nil)
        #expect(entries.first?.name == all[1201].name)
    }

    @Test func aReaderGoesOnAfterAnEntryThatWasDeleted() throws {
        let world = World((0..<100).map { "f\(100 + $0)" }, policy: MetadataPolicy(ttlMs: 10, negativeTTLMs: 10))
        let stream = try world.namespace.openDirectory(rootInode).get()
        let dots = world.read(stream, from: 0, limit: 2).entries
        let first = world.read(stream, from: dots[1].cookie, limit: 50).entries
        for i in 40..<60 { world.store.delete("f\(100 + i)") }
        world.advance(ms: 1000)
        _ = world.lookup("f150")
        _ = try world.namespace.openDirectory(rootInode).get()
        let rest = world.read(stream, from: first[45].cookie).entries
        #expect(rest.first.map { $0.text >= "f146" } == true)
        #expect(rest.last?.text == "f199")
        #expect(world.read(stream, from: 12_345_678).errno == .invalidArgument)
    }

    @Test func rewindingShowsWhatCameMeanwhile() throws {
        let world = World(["a", "b"], policy: MetadataPolicy(ttlMs: 1000, negativeTTLMs: 1000))
        let stream = try world.namespace.openDirectory(rootInode).get()
        var cookie = world.read(stream, from: 0).entries.last!.cookie
        if cookie == 2 { cookie = world.read(stream, from: 2).entries.last!.cookie }
        world.store.put("c")
        world.advance(ms: 1001)
        #expect(world.read(stream, from: cookie).entries.isEmpty)
        #expect(world.read(stream, from: 0).entries.count == 2)
        #expect(world.read(stream, from: 2).entries.map(\.text) == ["a", "b", "c"])
    }

    @Test func failuresReachTheReaderAndAreForgotten() throws {
        let world = World(["a"])
        world.store.answer = { number, _ in
            [.failure(.timedOut), .failure(.denied(code: "AccessDenied", message: "")), .failure(.noSuchBucket)][
                safe: number - 1]
        }
        #expect(world.list() == .failure(.ioError))
        #expect(world.list() == .failure(.permissionDenied))
        #expect(world.list() == .failure(.ioError))
        #expect(world.names() == ["a"])
    }

    @Test func anErrorInTheMiddleComesAfterTheEntriesBeforeIt() throws {
        let world = World((0..<3000).map { "f\(10_000 + $0)" })
        world.store.answer = { number, request in request.continuationToken == nil ? nil : .failure(.timedOut) }
        let stream = try world.namespace.openDirectory(rootInode).get()
        let first = world.read(stream, from: 2)
        #expect(first.entries.count > 900 && first.errno == nil)
        #expect(world.read(stream, from: first.entries.last!.cookie).errno == .ioError)
    }
}

extension Array {
    subscript(safe index: Int) -> Element? { indices.contains(index) ? self[index] : nil }
}
