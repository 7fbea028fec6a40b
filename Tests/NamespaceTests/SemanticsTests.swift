import S3
import SystemPackage
import Testing

@testable import Namespace

/// Each rule of docs/semantics.md that is about names and listings.
@Suite struct SemanticsTests {
    private func names(_ keys: [String], _ path: String = "") throws -> [String] {
        let world = World(keys)
        return world.names(path.isEmpty ? rootInode : try world.walk(path).get().inode)
    }

    @Test func aDirectoryHidesAFileOfItsName() throws {
        let world = World(["a", "a/b", "a.txt"])
        #expect(Set(world.names()) == ["a", "a.txt"])
        #expect(try world.list().get().first { $0.text == "a" }?.attributes.isDirectory == true)
        #expect(try World(["a", "a/b"]).lookup("a").get().isDirectory)
        #expect(try world.walk("a/b").get().size == 1)
    }

    @Test func aHiddenFileIsBackWhenTheDirectoryIsGone() throws {
        let world = World(["a", "a/b"], policy: MetadataPolicy(ttlMs: 10, negativeTTLMs: 10))
        #expect(try world.lookup("a").get().isDirectory)
        world.store.delete("a/b")
        world.advance(ms: 11)
        #expect(try world.lookup("a").get().isDirectory == false)
    }

    @Test func aFileIsHiddenHoweverFarItsDirectoryIsInTheListing() throws {
        let world = World(["a"] + (0..<3500).map { "a.\(10_000 + $0)" } + ["a/b", "b"])
        let entries = try world.list().get()
        #expect(entries.count == 3502)
        #expect(entries.filter { $0.text == "a" }.map(\.attributes.isDirectory) == [true])
    }

    @Test func aMarkerMakesAnEmptyDirectory() throws {
        let world = World(["empty/", "full/", "full/x"])
        world.store.put("content/", size: 77)
        #expect(world.names() == ["content", "empty", "full"])
        #expect(world.names(try world.walk("empty").get().inode).isEmpty)
        #expect(world.names(try world.walk("content").get().inode).isEmpty)
        #expect(world.names(try world.walk("full").get().inode) == ["x"])
        #expect(try world.walk("content").get().isDirectory)
    }

    @Test func emptyNamesBetweenSlashesAreNotShown() throws {
        #expect(try names(["/leading", "a//b", "a/c", "b//"]) == ["a", "b"])
        #expect(try names(["a//b", "a/c"], "a") == ["c"])
        #expect(World(["a//b"]).lookup("") == .failure(.noSuchFileOrDirectory))
    }

    @Test func dotsAreNotShownAsNames() throws {
        #expect(
            try names(["./x", "../y", ".", "..", "a/./b", "a/../c", ".hidden", "...", "a/ok"]) == [
                "...", ".hidden", "a",
            ])
        #expect(try names(["a/./b", "a/../c", "a/ok"], "a") == ["ok"])
        #expect(World([".", "./x"]).lookup(".") == .failure(.noSuchFileOrDirectory))
    }

    @Test func namesOf255BytesAreShownAndLongerOnesAreNot() throws {
        let long = String(repeating: "x", count: 255)
        let world = World([long, long + "y", "a/" + long + "z/deep", "a/b", long + "d/", long.dropLast() + "/in"])
        #expect(Set(world.names()) == [long, "a", String(long.dropLast())])
        #expect(world.names(try world.walk("a").get().inode) == ["b"])
        #expect(try world.lookup(long).get().size == 1)
        #expect(world.lookup(long + "y") == .failure(.fileNameTooLong))
        #expect(world.namespace.metrics.hidden.value >= 2)
    }

    @Test func newlinesControlsEmojiAndOtherBytesAreNames() throws {
        let odd = [
            "new\nline", "tab\t", "\u{1}\u{7f}", "🦆🌊", "e\u{301}", "é", "back\\slash", "quote\"'", " ", "*?[", "-rf",
        ]
        let world = World(odd.map { "d/" + $0 })
        let inode = try world.walk("d").get().inode
        #expect(Set(world.names(inode)) == Set(odd))
        for name in odd { #expect(try world.lookup(name, in: inode).get().size == 1) }
    }

    @Test func bytesThatAreNotUTF8AreNames() throws {
        let world = World(["a"])
        let odd: [[UInt8]] = [[0xff], [0x61, 0xc3], [0x80, 0x80], [0xf4, 0x90, 0x80, 0x80]]
        for name in odd { world.store.put(name) }
        world.store.put([0xfe] + Array("/in".utf8))
        #expect(Set(try world.list().get().map(\.name)) == Set(odd + [[0x61], [0xfe]]))
        let fresh = World(after: world)
        for name in odd { #expect(try fresh.lookup(name).get().size == 1) }
        #expect(try fresh.lookup([0xfe]).get().isDirectory)
    }

    @Test func aZeroByteIsNotShown() throws {
        let world = World(["a"])
        world.store.put([0x62, 0, 0x62])
        #expect(world.names() == ["a"])
    }

    @Test func oneBadKeyDoesNotBreakADirectory() throws {
        let world = World(["a//b", "..", String(repeating: "n", count: 300), "good", "a/b"])
        world.store.put([0xff, 0xfe])
        #expect(try world.list().get().count == 3)
    }

    @Test func emptyAndHugeObjectsHaveTheirSizes() throws {
        let world = World()
        world.store.put("empty", size: 0)
        world.store.put("huge", size: 5 << 40)
        #expect(try world.lookup("empty").get().size == 0)
        #expect(try world.lookup("huge").get().size == 5 << 40)
        #expect(try world.openVersion(try world.lookup("huge").get().inode).get().size == 5 << 40)
    }

    @Test func aTreeOf1000LevelsIsWalked() throws {
        let path = (0..<1000).map { _ in "d" }.joined(separator: "/")
        let world = World([path + "/leaf"])
        #expect(try world.walk(path + "/leaf").get().size == 1)
        #expect(try world.find().directories == 1000)
    }

    @Test func archivedObjectsAreListedAndNotReadable() throws {
        let world = World(["hot"])
        world.store.put("cold", isReadable: false)
        #expect(world.names() == ["cold", "hot"])
        #expect(try world.openVersion(try world.lookup("cold").get().inode).get().isReadable == false)
        #expect(try world.openVersion(try world.lookup("hot").get().inode).get().isReadable)
    }

    @Test func a403OnOneKeyLeavesItsDirectoryAlone() throws {
        let world = World(["a", "b"], policy: MetadataPolicy(ttlMs: 10, negativeTTLMs: 10))
        let inode = try world.lookup("a").get().inode
        world.store.headAnswer = { key in
            key.bytes == [0x61] ? .failure(.denied(code: "AccessDenied", message: "")) : nil
        }
        world.advance(ms: 11)
        #expect(world.openVersion(inode) == .failure(.permissionDenied))
        #expect(world.names() == ["a", "b"])
    }

    @Test func anObjectThatWentBetweenListAndOpenIsStale() throws {
        let world = World(["a"], policy: MetadataPolicy(ttlMs: 10, negativeTTLMs: 10))
        let inode = try world.lookup("a").get().inode
        world.store.delete("a")
        world.advance(ms: 11)
        #expect(world.openVersion(inode) == .failure(.staleNFSFileHandle))
        #expect(world.lookup("a") == .failure(.noSuchFileOrDirectory))
    }

    @Test func aReplacedObjectIsAnotherInode() throws {
        let world = World(["a"], policy: MetadataPolicy(ttlMs: 10, negativeTTLMs: 10))
        let old = try world.lookup("a").get()
        world.store.put("a", size: 99, version: 2)
        world.advance(ms: 11)
        #expect(world.openVersion(old.inode) == .failure(.staleNFSFileHandle))
        let new = try world.lookup("a").get()
        #expect(new.inode != old.inode && new.size == 99)
        #expect(try world.attributes(old.inode).get() == old)
        #expect(try world.openVersion(new.inode).get().size == 99)
        #expect(world.attributes(old.inode, refresh: true) == .failure(.staleNFSFileHandle))
    }

    @Test func aBucketThatVanishesIsAnErrorAndNotAnEmptyDirectory() throws {
        let world = World(["a"], policy: MetadataPolicy(ttlMs: 10, negativeTTLMs: 10))
        #expect(world.names() == ["a"])
        world.store.answer = { _, _ in .failure(.noSuchBucket) }
        world.advance(ms: 11)
        #expect(world.list() == .failure(.ioError))
        #expect(world.lookup("a") == .failure(.ioError))
    }

    @Test func hostileListingsAreErrors() throws {
        @Sendable func page(_ keys: [String], prefixes: [String] = [], token: String? = nil) -> ListPage {
            var page = ListPage(nextToken: token)
            for key in keys {
                let start = page.bytes.count
                page.bytes += Array(key.utf8)
                page.objects.append(.init(key: start..<page.bytes.count, etag: 0..<0, size: 1, modified: 1))
            }
            for prefix in prefixes {
                let start = page.bytes.count
                page.bytes += Array(prefix.utf8)
                page.prefixes.append(start..<page.bytes.count)
            }
            return page
        }
        let hostile: [ListPage] = [
            page(["b", "a"], token: "t"), page(["a", "a"]), page(["a"], prefixes: ["a"]),
            page(["a"], prefixes: ["d/", "d/"]), page(["d/x"]), page(["a", "b"], token: "same"),
            page([], token: "same"),
        ]
        for page in hostile {
            let world = World()
            world.store.answer = { _, _ in .success(page) }
            #expect(world.list() == .failure(.ioError))
            #expect(world.store.lists.count < 200)
        }
        let world = World(["d/x"])
        let inode = try world.lookup("d").get().inode
        world.store.answer = { _, _ in .success(page(["elsewhere/x"])) }
        #expect(world.list(inode) == .failure(.ioError))
        #expect(world.lookup("x", in: inode) == .failure(.ioError))
        // A server that sends all at once in an order of its own does no harm.
        let unsorted = World()
        unsorted.store.answer = { _, _ in .success(page(["b", "a", "c"], prefixes: ["z/", "d/"])) }
        #expect(unsorted.names() == ["a", "b", "c", "d", "z"])
    }
}
