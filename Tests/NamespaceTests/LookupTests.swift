import S3
import SystemPackage
import Testing
import Threads

@testable import Namespace

@Suite struct LookupTests {
    @Test func oneListDecidesAFileADirectoryAndNeither() throws {
        let world = World(["data/a", "file"])
        #expect(try world.lookup("file").get().isDirectory == false)
        #expect(world.store.lists.count == 1)
        #expect(try world.lookup("data").get().isDirectory)
        #expect(world.store.lists.count == 2)
        #expect(world.lookup("nothing") == .failure(.noSuchFileOrDirectory))
        #expect(world.store.lists.count == 3)
        #expect(world.store.heads.isEmpty)
    }

    @Test func whatIsFreshCostsNothingAlsoWhenItIsNotThere() throws {
        let world = World(["a/1", "b"], policy: MetadataPolicy(ttlMs: 1000, negativeTTLMs: 1000))
        #expect(world.names() == ["a", "b"])
        world.store.clearLog()
        _ = try world.lookup("a").get()
        _ = try world.lookup("b").get()
        #expect(world.lookup("c") == .failure(.noSuchFileOrDirectory))
        #expect(world.lookup("0") == .failure(.noSuchFileOrDirectory))
        #expect(world.store.lists.isEmpty && world.store.heads.isEmpty)
        world.advance(ms: 1001)
        _ = try world.lookup("b").get()
        #expect(world.store.lists.count == 1)
    }

    @Test func absenceHasATimeToLiveOfItsOwn() throws {
        let world = World(["a"], policy: MetadataPolicy(ttlMs: 10_000, negativeTTLMs: 100))
        #expect(world.names() == ["a"])
        world.store.put("b")
        #expect(world.lookup("b") == .failure(.noSuchFileOrDirectory))
        world.advance(ms: 101)
        #expect(try world.lookup("b").get().size == 1)
        world.store.clearLog()
        _ = try world.lookup("a").get()
        #expect(world.store.lists.isEmpty)
    }

    @Test func sameLookupsShareOneRequest() throws {
        let world = World(["file"])
        let answers = Locked<[Result<Attributes, Errno>]>([])
        for _ in 0..<5 {
            Array("file".utf8).withUnsafeBytes {
                world.namespace.lookup($0, in: rootInode) { result in answers.withLock { $0.append(result) } }
            }
        }
        world.store.run()
        #expect(world.store.lists.count == 1)
        #expect(answers.withLock { $0.count } == 5)
        let inode = try #require(try? answers.withLock { try $0[0].get().inode })
        world.namespace.forget(inode, lookups: 4)
        #expect(world.namespace.counts.inodes == 1)
        world.namespace.forget(inode, lookups: 1)
        #expect(world.namespace.counts.inodes == 0)
    }

    @Test func manyLookupsInOneDirectoryBecomePages() throws {
        let world = World((0..<5000).map { "f\(1000 + $0)" })
        for i in stride(from: 0, to: 5000, by: 7) { _ = try world.lookup("f\(1000 + i)").get() }
        #expect(world.store.lists.count <= 12)
    }

    @Test func aDirectoryFarBehindItsNamesakesIsFoundWithOneMoreList() throws {
        let world = World(["a"] + (0..<50).map { "a.\(100 + $0)" } + ["a/inside"])
        #expect(try world.lookup("a").get().isDirectory)
        #expect(world.store.lists.count == 2)
    }

    @Test func whoMayNotListMayStillRead() throws {
        let world = World(["file"])
        world.store.answer = { _, _ in .failure(.denied(code: "AccessDenied", message: "")) }
        #expect(try world.lookup("file").get().size == 1)
        #expect(world.store.heads.count == 1)
        #expect(world.lookup("other") == .failure(.noSuchFileOrDirectory))
    }

    @Test func errorsAreNotRemembered() throws {
        let world = World(["file"])
        world.store.answer = { number, _ in number == 1 ? .failure(.timedOut) : nil }
        #expect(world.lookup("file") == .failure(.ioError))
        #expect(try world.lookup("file").get().size == 1)
    }

    @Test func anEntryThatWentAndOneThatCameAreSeenAfterTheTimeToLive() throws {
        let world = World(["a", "d/x"], policy: MetadataPolicy(ttlMs: 1000, negativeTTLMs: 1000))
        _ = try world.lookup("a").get()
        _ = try world.lookup("d").get()
        world.store.delete("a")
        world.store.delete("d/x")
        world.store.put("d")
        world.advance(ms: 1001)
        #expect(world.lookup("a") == .failure(.noSuchFileOrDirectory))
        #expect(try world.lookup("d").get().isDirectory == false)
    }
}
