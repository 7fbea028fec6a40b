import Fuse
import Glibc
import S3
import SystemPackage
import TestSupport
import Testing
import Threads

@testable import Mount

/// Random changes of the bucket and random uses of the mount, against a model of what each must show.
@Suite("The mount against a model", .serialized, .enabled(if: isMountingPossible(), "needs root and /dev/fuse"))
struct ModelTests {
    private struct Held {
        var descriptor: Int32
        var key: String
        var bytes: [UInt8]
        /// Its version is still in the bucket.
        var isCurrent = true
    }

    private static let directories = ["", "d0/", "d1/", "d1/e/"]
    private static let files = ["f0", "f1", "f2", "ü \n"]
    private static let sizes = [0, 1, 4095, 4096, 65_536, 65_537, 300_000, 1 << 20]

    /// Two histories that are always the same, and one of this run, which MILLRACE_SEED sets.
    @Test("random operations, asked afresh each time", arguments: [1, 2, Seeded.seed])
    func fresh(seed: UInt64) throws {
        try EngineFixture.with { fixture in
            print("model through the mount, seed \(seed): replay with MILLRACE_SEED=\(seed)")
            let (session, path) = try fixture.mount()
            var numbers = Seeded(seed)
            var model: [String: [UInt8]] = [:]
            var held: [Held] = []
            for step in 0..<400 {
                let key =
                    Self.directories.randomElement(using: &numbers)! + Self.files.randomElement(using: &numbers)!
                let place: Comment = "repeat with MILLRACE_SEED=\(seed), step \(step), \(key)"
                switch Int.random(in: 0..<12, using: &numbers) {
                case 0..<3:
                    let size = Self.sizes.randomElement(using: &numbers)!
                    let bytes = ObjectBody.generated(size: UInt64(size), seed: numbers.next()).bytes(
                        in: 0..<UInt64(size))
                    for i in held.indices where held[i].key == key && model[key] != bytes { held[i].isCurrent = false }
                    model[key] = bytes
                    fixture.store.put(key, bytes)
                case 3:
                    for i in held.indices where held[i].key == key { held[i].isCurrent = false }
                    model[key] = nil
                    fixture.store.delete(key)
                case 4, 5: try checkWhole(path, key, model[key], place)
                case 6: checkStatus(path, key, model[key], place)
                case 7, 8:
                    try checkListing(path, Self.directories.randomElement(using: &numbers)!, model, place)
                case 9:
                    if held.count > 6 {
                        close(held.remove(at: Int.random(in: 0..<held.count, using: &numbers)).descriptor)
                    }
                    let fd = open(path + "/" + key, O_RDONLY)
                    #expect((fd >= 0) == (model[key] != nil), place)
                    if fd >= 0 { held.append(Held(descriptor: fd, key: key, bytes: model[key] ?? [])) }
                default:
                    guard let one = held.randomElement(using: &numbers) else { continue }
                    checkRange(one, &numbers, place)
                }
            }
            for one in held { close(one.descriptor) }
            #expect(eventually { session.status.openFiles == 0 && session.status.requestsInFlight == 0 })
            try fixture.engine.unmount(session)
        }
    }

    private func checkWhole(_ path: String, _ key: String, _ expected: [UInt8]?, _ place: Comment) throws {
        do {
            let same = try contents(path + "/" + key) == expected
            #expect(same, place)
        } catch let error as Errno {
            #expect(error == .noSuchFileOrDirectory && expected == nil, place)
        }
    }

    private func checkStatus(_ path: String, _ key: String, _ expected: [UInt8]?, _ place: Comment) {
        var status = stat()
        if stat(path + "/" + key, &status) == 0 {
            #expect(status.st_size == expected?.count ?? -1, place)
        } else {
            #expect(errno == ENOENT && expected == nil, place)
        }
    }

    private func checkListing(_ path: String, _ directory: String, _ model: [String: [UInt8]], _ place: Comment) throws
    {
        var expected: Set<String> = []
        for key in model.keys where key.hasPrefix(directory) {
            expected.insert(String(key.dropFirst(directory.count).prefix { $0 != "/" }))
        }
        do {
            let seen = try names(in: path + "/" + directory)
            #expect(seen == expected.sorted(), place)
        } catch let error as Errno {
            #expect(error == .noSuchFileOrDirectory && expected.isEmpty && directory != "", place)
        }
    }

    private func checkRange(_ held: Held, _ numbers: inout Seeded, _ place: Comment) {
        let start = Int.random(in: 0...(held.bytes.count + 10), using: &numbers)
        var chunk = [UInt8](repeating: 0, count: [1, 4096, 70_000].randomElement(using: &numbers)!)
        let n = pread(held.descriptor, &chunk, chunk.count, off_t(start))
        if n < 0 {
            #expect(errno == ESTALE && !held.isCurrent, place)
            return
        }
        let end = min(start + chunk.count, held.bytes.count)
        #expect(n == max(0, end - start), place)
        let same = chunk.prefix(n).elementsEqual(
            held.bytes[min(start, held.bytes.count)..<max(end, min(start, held.bytes.count))])
        #expect(same, place)
    }
}
