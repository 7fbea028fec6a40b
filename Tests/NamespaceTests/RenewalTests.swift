import S3
import Testing
import Threads

@testable import Namespace

@Suite struct RenewalTests {
    private let policy = MetadataPolicy(ttlMs: 1000, negativeTTLMs: 1000)

    private func use(_ world: World, _ times: Int) throws {
        for i in 0..<times { _ = try world.lookup("f\(i % 10)").get() }
        world.store.run()
    }

    @Test func aSmallDirectoryInUseIsListedAgainBeforeAnybodyWaits() throws {
        let world = World((0..<10).map { "f\($0)" }, policy: policy)
        _ = world.names()
        world.store.clearLog()
        try use(world, 20)
        #expect(world.store.lists.isEmpty, "it is young")
        world.advance(ms: 600)
        try use(world, 20)
        #expect(world.store.lists.count == 1)
        // What the mount knew first is too old by now.
        world.advance(ms: 400)
        world.store.clearLog()
        #expect(try world.lookup("f3").get().isDirectory == false)
        #expect(world.store.lists.isEmpty && world.store.heads.isEmpty)
    }

    @Test func aFewLookupsAreNotWorthAListing() throws {
        let world = World((0..<10).map { "f\($0)" }, policy: policy)
        _ = world.names()
        world.advance(ms: 600)
        world.store.clearLog()
        try use(world, 3)
        #expect(world.store.lists.isEmpty)
    }

    @Test func whatCameMeanwhileIsFoundAndWhatWentIsNot() throws {
        let world = World((0..<10).map { "f\($0)" }, policy: policy)
        _ = world.names()
        world.store.put("new")
        world.store.delete("f9")
        world.advance(ms: 600)
        try use(world, 9)
        world.store.clearLog()
        _ = try world.lookup("new").get()
        #expect(world.lookup("f9") == .failure(.noSuchFileOrDirectory))
        #expect(world.store.lists.isEmpty && world.store.heads.isEmpty)
    }

    @Test func aLargeDirectoryIsNotListedForItsOwnSake() throws {
        let world = World((0..<1500).map { "f\($0)" }, policy: policy)
        _ = world.names()
        world.advance(ms: 600)
        world.store.clearLog()
        try use(world, 30)
        #expect(world.store.lists.isEmpty)
    }

    @Test func whatTheMountCheckedIsNotAskedAgain() throws {
        let world = World(["a", "b"], policy: policy)
        let page = Locked<ListPage?>(nil)
        world.store.list(ListRequest(prefix: ObjectKey(""), delimiter: UInt8(ascii: "/"))) { result in
            page.withLock { $0 = try? result.get() }
        }
        world.store.run()
        world.namespace.begin(with: try #require(page.withLock { $0 }), sent: world.namespace.clock())
        world.store.clearLog()
        #expect(try world.lookup("a").get().isDirectory == false)
        #expect(world.names() == ["a", "b"])
        #expect(world.store.lists.isEmpty)
        // Whoever waited for the mount to add a file finds it.
        world.advance(ms: 1)
        #expect(world.lookup("c") == .failure(.noSuchFileOrDirectory))
        #expect(world.store.lists.count == 1)
        world.store.put("d")
        #expect(try world.lookup("d").get().isDirectory == false)
    }
}
