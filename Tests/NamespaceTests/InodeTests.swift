import S3
import SystemPackage
import Testing
import Threads

@testable import Namespace

@Suite struct InodeTests {
    final class Journal: InodeJournal, @unchecked Sendable {
        let records = Locked<[InodeNumber: InodeRecord]>([:])
        func added(_ record: InodeRecord) { records.withLock { $0[record.inode] = record } }
        func forgot(_ inode: InodeNumber) { records.withLock { $0[inode] = nil } }
        var all: [InodeRecord] { records.withLock { Array($0.values) } }
    }

    @Test func numbersAreTheSameAfterForgetEvictionAndRestart() throws {
        let world = World(["d/a", "d/b", "c"])
        let first = try ["c", "d", "d/a"].map { try world.walk($0).get().inode }
        #expect(Set(first + [rootInode]).count == 4)
        for inode in first { world.namespace.forget(inode, lookups: 5) }
        #expect(world.namespace.counts.inodes == 0)
        #expect(try ["c", "d", "d/a"].map { try world.walk($0).get().inode } == first)
        let next = World(after: world)
        #expect(try next.list(try next.walk("d").get().inode).get().first?.attributes.inode == first[2])
        #expect(try ["c", "d", "d/a"].map { try next.walk($0).get().inode } == first)
    }

    @Test func aForgottenInodeIsStale() throws {
        let world = World(["d/a"])
        let d = try world.walk("d").get().inode
        let a = try world.walk("d/a").get().inode
        world.namespace.forget(a, lookups: 1)
        #expect(world.openVersion(a) == .failure(.staleNFSFileHandle))
        #expect(world.attributes(a) == .failure(.staleNFSFileHandle))
        #expect(world.attributes(12345) == .failure(.staleNFSFileHandle))
        #expect(world.lookup("x", in: 12345) == .failure(.staleNFSFileHandle))
        #expect(try world.attributes(rootInode).get().isDirectory)
        // Its parent may be forgotten before it.
        let again = try world.lookup("a", in: d).get().inode
        world.namespace.forget(d, lookups: 5)
        #expect(try world.openVersion(again).get().key == ObjectKey("d/a"))
    }

    @Test func aNewEngineGoesOnWithTheInodesOfTheOneBefore() throws {
        let world = World(["d/e/f", "d/g", "top"])
        let journal = Journal()
        world.namespace.journal = journal
        let paths = ["d", "d/e", "d/e/f", "d/g", "top"]
        let inodes = try paths.map { try world.walk($0).get() }
        #expect(journal.all.count == 5)
        world.namespace.forget(inodes[3].inode, lookups: 1)
        #expect(journal.all.count == 4)

        let next = World(after: world)
        let log = Journal()
        next.namespace.journal = log
        next.namespace.restore(journal.all.shuffled())
        #expect(next.namespace.counts.inodes == 4)
        next.store.clearLog()
        for i in [0, 1, 2, 4] { #expect(try next.attributes(inodes[i].inode).get().size == inodes[i].size) }
        #expect(next.store.lists.isEmpty && next.store.heads.isEmpty)
        #expect(try next.openVersion(inodes[2].inode).get().key == ObjectKey("d/e/f"))
        #expect(next.names(inodes[1].inode) == ["f"])
        #expect(try next.lookup("f", in: inodes[1].inode).get().inode == inodes[2].inode)
        // The kernel gives back all lookups, those of the engine before too.
        next.namespace.forget(inodes[2].inode, lookups: 2)
        next.namespace.forget(inodes[4].inode, lookups: 1)
        #expect(next.namespace.counts.inodes == 2)
        #expect(next.openVersion(inodes[4].inode) == .failure(.staleNFSFileHandle))
    }

    @Test func restoredVersionsThatWereReplacedAreStale() throws {
        let world = World(["a"])
        let journal = Journal()
        world.namespace.journal = journal
        let old = try world.lookup("a").get()
        world.store.put("a", size: 7, version: 2)
        let next = World(after: world)
        next.namespace.restore(journal.all)
        #expect(next.openVersion(old.inode) == .failure(.staleNFSFileHandle))
        #expect(try next.lookup("a").get().size == 7)
        #expect(try next.attributes(old.inode).get() == old)
    }

    @Test func invalidatedFilesAreAskedForAgain() throws {
        let world = World(["a", "b"])
        #expect(world.names() == ["a", "b"])
        let inode = try world.lookup("a").get().inode
        world.store.put("a", size: 3, version: 2)
        #expect(try world.lookup("a").get().inode == inode)
        world.namespace.invalidate(inode)
        #expect(try world.lookup("a").get().size == 3)
        #expect(try world.lookup("b").get().size == 1)
    }

    @Test func filesThatFollowAreKnownWithoutARequest() throws {
        let world = World((0..<3000).map { "f\(10_000 + $0)" } + ["f10001/x", "f10001x/y"])
        let all = try world.list(plus: true).get().filter { !$0.attributes.isDirectory }
        world.store.clearLog()
        let at = try #require(all.firstIndex { $0.text == "f10995" })
        let next = world.namespace.files(after: all[at].attributes.inode, count: 20)
        #expect(next.map(\.inode) == all[at + 1...at + 20].map(\.attributes.inode))
        #expect(next[3].version.key == ObjectKey(all[at + 4].text))
        #expect(next[3].version.etag == "v1-1")
        #expect(world.namespace.files(after: all.last!.attributes.inode, count: 5).isEmpty)
        #expect(world.namespace.files(after: 99, count: 5).isEmpty)
        #expect(world.store.lists.isEmpty)
    }

    @Test func etagsComeBackAsTheyWere() {
        for etag in [
            "", "d41d8cd98f00b204e9800998ecf8427e", "d41d8cd98f00b204e9800998ecf8427e-1",
            "d41d8cd98f00b204e9800998ecf8427e-10000", "d41d8cd98f00b204e9800998ecf8427e-65536",
            "d41d8cd98f00b204e9800998ecf8427e-01", "D41D8CD98F00B204E9800998ECF8427E", "5f3a-1000", "é\"",
            String(repeating: "x", count: 255),
        ] {
            var packed: [UInt8] = []
            let form = Array(etag.utf8).withUnsafeBytes { EntryTag.pack($0, into: &packed) }
            #expect(form.map { form in packed.withUnsafeBytes { EntryTag.text($0, form) } } == etag)
        }
        var packed: [UInt8] = []
        let tooLong = [UInt8](repeating: 1, count: 256).withUnsafeBytes { EntryTag.pack($0, into: &packed) }
        #expect(tooLong == nil)
    }

    @Test func theIndexFindsAllThroughGrowthAndRemoval() {
        for seed in Random.seeds(5) {
            var random = Random(seed: seed)
            var index = InodeIndex()
            var numbers: [Location: InodeNumber] = [:]
            for i in 0..<20_000 {
                let location = Location(block: UInt32(i / 1000 + 1), index: UInt16(i % 1000))
                let inode = random.next() | 16
                numbers[location] = inode
                index.insert(inode, location) { numbers[$0]! }
                if i % 3 == 0, let (old, number) = numbers.first {
                    index.remove(number, old) { numbers[$0]! }
                    numbers[old] = nil
                }
            }
            #expect(index.count == numbers.count, "\(Random.hint(seed))")
            for (location, inode) in numbers {
                #expect(index.find(inode) { numbers[$0] == inode } == location, "\(Random.hint(seed))")
            }
            #expect(index.memory <= numbers.count * 17 + 256 * 64)
        }
    }
}

extension Location: Hashable {
    public func hash(into hasher: inout Hasher) {
        hasher.combine(block)
        hasher.combine(index)
    }
}
