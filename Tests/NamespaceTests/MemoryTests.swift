import Testing

@testable import Namespace

@Suite struct MemoryTests {
    @Test func knownFilesAreCountedOnceHoweverOftenTheyAreListed() throws {
        let world = World((0..<2500).map { "d/\($0)" } + ["x"])
        #expect(world.namespace.knownObjects == (0, 0))
        let directory = try world.lookup("d").get().inode
        for _ in 0..<3 {
            #expect(try world.list(directory).get().count == 2500)
            #expect(world.namespace.knownObjects.count >= 2500 && world.namespace.knownObjects.count <= 2501)
        }
    }

    @Test func aKnownKeyCostsAtMost80Bytes() throws {
        var keys: [String] = []
        for d in 0..<50 { for f in 0..<1000 { keys.append("d" + padded(d, 4) + "/f" + padded(f, 6) + ".bin") } }
        let world = World(keys)
        try world.find(plus: true)
        let counts = world.namespace.counts
        #expect(counts.inodes == 50_050)
        print("bytes a key, known to the kernel: \(counts.bytes / 50_050)")
        #expect(counts.bytes / 50_050 <= 80)
    }

    @Test func whatNobodyRefersToIsDropped() throws {
        let world = World(
            (0..<300).flatMap { d in
                (0..<1000).map { "d\(100 + d)/" + String(repeating: "n", count: 40) + padded($0, 6) }
            },
            policy: MetadataPolicy(ttlMs: .max, negativeTTLMs: .max, maxBytes: 8 << 20))
        for entry in try world.list(plus: true).get() {
            #expect(try world.list(entry.attributes.inode).get().count == 1000)
        }
        #expect(world.namespace.counts.bytes <= 9 << 20)
        let known = try world.walk("d399").get().inode
        #expect(try world.list(known, plus: true).get().count == 1000)
        for entry in try world.list().get() { #expect(try world.list(entry.attributes.inode).get().count == 1000) }
        // What the kernel knows stayed.
        #expect(world.namespace.counts.inodes == 1300)
        #expect(world.namespace.counts.bytes <= 9 << 20)
    }

    @Test func aDirectoryLargerThanTheBudgetIsListed() throws {
        let world = World(
            (0..<200_000).map { padded($0, 64) },
            policy: MetadataPolicy(ttlMs: .max, negativeTTLMs: .max, maxBytes: 8 << 20))
        let entries = try world.list(limit: 500).get()
        #expect(entries.count == 200_000)
        #expect(world.namespace.counts.bytes <= 9 << 20)
        #expect(world.store.lists.count <= 320)
    }

    @Test func forgettingAllGivesTheIndexBack() throws {
        let world = World((0..<20_000).map { padded($0, 8) })
        let entries = try world.list(plus: true).get()
        #expect(world.namespace.counts.inodes == 20_000)
        for entry in entries { world.namespace.forget(entry.attributes.inode, lookups: 1) }
        #expect(world.namespace.counts.inodes == 0)
        #expect(world.namespace.table.index.memory <= 256 * 32 * 8)
    }
}
