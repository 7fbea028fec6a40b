import S3
import Testing

@testable import Namespace

/// LISTs are counted, and time is the store's own: 60 ms a LIST.
@Suite struct RequestCountTests {
    @Test func aBigDirectoryIsListedInParallel() throws {
        let world = World((0..<100_000).map { "f" + padded($0, 6) + ".bin" })
        #expect(try world.list(limit: 5000).get().count == 100_000)
        print("100,000 sequential names: \(world.store.lists.count) LISTs, \(world.store.elapsedMs) ms")
        #expect(world.store.lists.count <= 130)
        #expect(world.store.elapsedMs <= 1200)
        #expect(world.store.peakActive <= Listing.lanes)
    }

    @Test func aBigDirectoryOfHashesIsListedInParallel() throws {
        var random = Random(seed: 7)
        let names = Set((0..<50_000).map { _ in hex(random.next()) }).sorted()
        let world = World(names)
        #expect(try world.list(limit: 5000).get().count == names.count)
        print("50,000 hashes: \(world.store.lists.count) LISTs, \(world.store.elapsedMs) ms")
        #expect(world.store.lists.count <= 65)
        #expect(world.store.elapsedMs <= 1000)
    }

    /// A crawl is read to its end although that takes longer than what it told may be trusted.
    @Test(arguments: [Int.max, 1000, 200]) func findOver200Directories(ttlMs: Int) throws {
        var keys: [String] = []
        for d in 0..<200 { for f in 0..<1000 { keys.append("d" + padded(d, 4) + "/f" + padded(f, 5)) } }
        let world = World(keys, policy: MetadataPolicy(ttlMs: ttlMs, negativeTTLMs: ttlMs))
        let found = try world.find()
        #expect(found == (files: 200_000, directories: 200))
        print("200 directories of 1,000: \(world.store.lists.count) LISTs, \(world.store.elapsedMs) ms")
        #expect(world.store.lists.count <= 260)
        #expect(world.store.elapsedMs <= 1500)
    }

    @Test func findOver10000SmallDirectories() throws {
        var keys: [String] = []
        for d in 0..<10_000 { for f in 0..<10 { keys.append("d" + padded(d, 5) + "/f\(f)") } }
        let world = World(keys)
        let found = try world.find()
        #expect(found == (files: 100_000, directories: 10_000))
        print("10,000 directories of 10: \(world.store.lists.count) LISTs, \(world.store.elapsedMs) ms")
        #expect(world.store.lists.count <= 135)
        #expect(world.store.elapsedMs <= 1500)
    }

    /// Names of which nothing is ASCII give no place for a cut: they are read one page after another.
    @Test func findOverNamesThatAreNotASCII() throws {
        var keys: [String] = []
        for d in ["東京", "大阪", "札幌"] { for f in 0..<4000 { keys.append("\(d)/写真\(padded(f, 4))") } }
        let world = World(keys.sorted { Array($0.utf8).lexicographicallyPrecedes(Array($1.utf8)) })
        let found = try world.find()
        #expect(found == (files: 12_000, directories: 3))
        #expect(world.store.lists.count <= 20)
    }

    @Test func findOverADeepTree() throws {
        var keys: [String] = []
        for year in 2020..<2024 {
            for month in 1...12 {
                for day in 1...28 {
                    for file in 0..<20 {
                        keys.append("\(year)/\(padded(month, 2))/\(padded(day, 2))/part-\(padded(file, 5))")
                    }
                }
            }
        }
        let world = World(keys)
        let found = try world.find()
        #expect(found.files == keys.count && found.directories == 4 + 48 + 48 * 28)
        print(
            "years, months, days: \(world.store.lists.count) LISTs for \(keys.count) keys, \(world.store.elapsedMs) ms")
        #expect(world.store.lists.count <= 72)
    }

    @Test func skewedAndIrregularNamesCostLittleMore() throws {
        for seed in UInt64(1)...12 {
            var random = Random(seed: seed)
            let names = Set((0..<Int(random.next() % 40_000) + 500).map { _ in irregular(&random, seed) })
                .subtracting([".", ".."]).sorted()
            let world = World(names)
            #expect(try world.list(limit: 5000).get().count == names.count)
            let least = (names.count + 999) / 1000
            print(
                "irregular \(seed): \(names.count) keys, \(world.store.lists.count) LISTs, \(world.store.elapsedMs) ms")
            #expect(
                Double(world.store.lists.count) <= 1.3 * Double(least) + 2, "\(Random.hint(seed)), \(names.count) names"
            )
        }
    }

    @Test func oneHugeDirectoryAmongSmallOnes() throws {
        var keys: [String] = []
        for d in 0..<200 {
            for f in 0..<(d == 77 ? 60_000 : 200) { keys.append("d" + padded(d, 4) + "/f" + padded(f, 6)) }
        }
        let world = World(keys)
        #expect(try world.find().files == keys.count)
        print(
            "skewed directories: \(world.store.lists.count) LISTs for \(keys.count) keys, \(world.store.elapsedMs) ms")
        #expect(world.store.lists.count <= 135)
        #expect(world.store.elapsedMs <= 3000)
    }

    @Test func listingManyShallowDirectoriesDoesNotListAllBelow() throws {
        var keys: [String] = []
        for d in 0..<100 { for s in 0..<2000 { keys.append("d" + padded(d, 3) + "/deep/x/f" + padded(s, 5)) } }
        let world = World(keys)
        for entry in try world.list(plus: true).get() { _ = try world.list(entry.attributes.inode, plus: true).get() }
        print("100 shallow directories: \(world.store.lists.count) LISTs")
        #expect(world.store.lists.count <= 200)
    }

    @Test func headOfABigDirectoryListsLittle() throws {
        let world = World((0..<100_000).map { "f" + padded($0, 6) })
        let stream = try world.namespace.openDirectory(rootInode).get()
        _ = world.read(stream, from: 2, limit: 100)
        world.store.run()
        #expect(world.store.lists.count <= 2)
    }

    private func irregular(_ random: inout Random, _ seed: UInt64) -> String {
        switch seed % 4 {
        case 0:  // A few long words and a skewed number.
            let words = ["alpha", "beta-long-name", "Γ", "zz", "00", "data_"]
            let r = random.next()
            return words[Int(r % 6)] + "\(r >> 8 % 7)" + "-" + "\(random.next() % (1 << (random.next() % 40)))"
        case 1:  // Dates with a counter.
            return
                "2024-\(padded(Int(random.next() % 12) + 1, 2))-\(padded(Int(random.next() % 28) + 1, 2))_\(random.next() % 997)"
        case 2:  // Bytes of all kinds.
            return String(
                decoding: (0..<Int(random.next() % 12) + 1).map { _ in
                    let byte = UInt8(random.next() % 94) + 33
                    return byte == UInt8(ascii: "/") ? UInt8(ascii: "x") : byte
                }, as: UTF8.self)
        default:  // Numbers without padding.
            return "img\(random.next() % 100_000).jpg"
        }
    }
}
