import S3
import SystemPackage
import Testing
import Threads

@testable import Namespace

/// Random buckets that change, against what a straightforward reading of their keys gives.
@Suite struct ModelTests {
    private struct Model {
        /// Entries of a directory by its path ("" or ending in "/").
        var directories: [String: [String: Bool]] = [:]
        var files: [String: KeyStore.Object] = [:]

        init(_ objects: [(key: [UInt8], object: KeyStore.Object)]) {
            directories[""] = [:]
            for (bytes, object) in objects {
                let key = String(decoding: bytes, as: UTF8.self)
                var path = ""
                let parts = key.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
                var isShown = true
                for part in parts.dropLast() {
                    guard !part.isEmpty, part != ".", part != ".." else {
                        isShown = false
                        break
                    }
                    directories[path]![part] = true
                    path += part + "/"
                    if directories[path] == nil { directories[path] = [:] }
                }
                guard isShown, let last = parts.last, !last.isEmpty, last != ".", last != ".." else { continue }
                if directories[path]![last] == nil { directories[path]![last] = false }
                files[key] = object
            }
        }

        func isDirectory(_ path: String) -> Bool { path.isEmpty || directories[path] != nil }
    }

    private static let parts = [
        "a", "b", "a.txt", "a-", "ab", "a0", "", ".", "..", "z", "é", "a!", "B", "\u{10FFFF}", "f1", "f2", "f3",
    ]

    private func key(_ random: inout Random) -> String {
        (0..<random.below(4) + 1).map { _ in Self.parts[random.below(Self.parts.count)] }.joined(separator: "/")
    }

    @Test func agreesWithAReadingOfTheKeys() throws {
        for seed in Random.seeds(25) {
            print("model seed \(seed): replay with MILLRACE_SEED=\(seed)")
            var random = Random(seed: seed)
            let world = World(policy: MetadataPolicy(ttlMs: 1000, negativeTTLMs: 1000))
            if random.chance(30) { for i in 0..<random.below(4000) { world.store.put("a/many\(i)") } }
            for _ in 0..<random.below(60) { world.store.put(key(&random)) }
            for round in 0..<12 {
                for _ in 0..<random.below(12) { change(world, &random) }
                // All that was known is too old now, so that every answer must be of this state of the bucket.
                world.advance(ms: 100_000)
                let model = Model(world.store.all)
                for _ in 0..<random.below(25) {
                    check(world, model, &random, "\(Random.hint(seed)), round \(round)")
                    if random.chance(10) { world.advance(ms: 700) }
                }
            }
        }
    }

    private func change(_ world: World, _ random: inout Random) {
        let all = world.store.all
        if random.chance(40), !all.isEmpty {
            world.store.delete(all[random.below(all.count)].key)
        } else {
            world.store.put(key(&random), size: UInt64(random.below(3)), version: random.below(3))
        }
    }

    private func check(_ world: World, _ model: Model, _ random: inout Random, _ comment: Comment) {
        // Down to some directory, by lookups.
        var path = ""
        var inode = rootInode
        while random.chance(60) {
            let below = model.directories[path]!.filter(\.value).keys.sorted()
            guard !below.isEmpty else { break }
            let name = below[random.below(below.count)]
            guard case .success(let found) = world.lookup(name, in: inode), found.isDirectory else {
                Issue.record("\(path)\(name) is a directory: \(comment)")
                return
            }
            inode = found.inode
            path += name + "/"
        }
        let expected = model.directories[path]!
        switch random.below(4) {
        case 0:
            guard case .success(let entries) = world.list(inode, plus: random.chance(50), limit: random.below(100) + 1)
            else {
                Issue.record("can't list \(path): \(comment)")
                return
            }
            #expect(entries.count == expected.count, comment)
            for entry in entries {
                #expect(expected[entry.text] == entry.attributes.isDirectory, comment)
                if !entry.attributes.isDirectory {
                    #expect(model.files[path + entry.text]?.size == entry.attributes.size, comment)
                }
            }
        case 1:
            #expect(throws: Never.self, comment) { try world.find(inode, plus: true) }
        default:
            let name = Self.parts[random.below(Self.parts.count)]
            switch world.lookup(name, in: inode) {
            case .success(let found):
                #expect(expected[name] == found.isDirectory, comment)
                if !found.isDirectory {
                    #expect(model.files[path + name]?.size == found.size, comment)
                    let version = try? world.openVersion(found.inode).get()
                    #expect(version?.etag == model.files[path + name]?.etag, comment)
                    #expect(version?.key == ObjectKey(path + name), comment)
                }
                if random.chance(50) { world.namespace.forget(found.inode, lookups: 1) }
            case .failure(let errno):
                #expect(errno == .noSuchFileOrDirectory, comment)
                #expect(expected[name] == nil, comment)
            }
        }
    }
}
