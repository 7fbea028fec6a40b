import S3
import TestSupport
import Testing

@testable import Copy

func pattern(_ count: Int, seed: UInt8) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
        for i in 0..<count { buffer[i] = UInt8(truncatingIfNeeded: i &* 31 &+ i >> 8) &+ seed }
        initialized = count
    }
}

func item(_ store: MemoryStore, _ key: String, _ path: String? = nil) throws -> CopyItem {
    let object = try #require(store.object(key))
    let size = try #require(store.object(key)?.body.size)
    return CopyItem(
        key: ObjectKey(key), etag: object.etag, size: size, modified: 1_700_000_000, relativePath: path ?? key)
}

let oneAtATime: CopyOptions = {
    var options = CopyOptions()
    options.concurrency = 1
    return options
}()

struct CopyJobTests {
    private let store = MemoryStore()
    private let folder = Folder()

    @Test func filesOfAllSizesArriveWhole() throws {
        defer { store.stop() }
        let part = Int(PartFile.partBytes)
        let sizes = [0, 1, 4096, part - 1, part, part + 1, 2 * part + 17]
        for size in sizes { store.put("d/\(size)", pattern(size, seed: UInt8(size & 0x7f))) }
        let job = CopyJob(store: store, destination: folder.path)
        for size in sizes { job.add(try item(store, "d/\(size)")) }
        let counts = job.finish()
        #expect(counts.failures.isEmpty)
        #expect(counts.files == sizes.count)
        for size in sizes { #expect(folder.holds("d/\(size)", pattern(size, seed: UInt8(size & 0x7f)))) }
        #expect(folder.names(of: folder.path + "/d") == sizes.map(String.init).sorted(), "nothing unfinished is left")
    }

    @Test func aSecondRunReadsNothing() throws {
        defer { store.stop() }
        store.put("a", pattern(100, seed: 1))
        for _ in 0..<2 {
            let job = CopyJob(store: store, destination: folder.path)
            job.add(try item(store, "a"))
            _ = job.finish()
        }
        #expect(store.counts.gets == 1)
    }

    @Test func aBrokenCopyGoesOnAtTheMissingParts() throws {
        defer { store.stop() }
        let size = 4 * Int(PartFile.partBytes)
        store.put("big", pattern(size, seed: 3))
        store.inject(MemoryFault(.fail(.network("reset")), on: .get, skip: 2, count: 1))
        let first = CopyJob(store: store, destination: folder.path, options: oneAtATime)
        first.add(try item(store, "big"))
        #expect(first.finish().failures.count == 1)
        #expect(folder.bytes(of: "big") == nil, "nothing stands under the final name")
        #expect(folder.names() == [".big.millrace-part"])

        store.clearLog()
        let second = CopyJob(store: store, destination: folder.path, options: oneAtATime)
        second.add(try item(store, "big"))
        #expect(second.finish().failures.isEmpty)
        #expect(store.counts.gets == 2, "only the part that failed, and the last one, which the first run didn't begin")
        #expect(folder.holds("big", pattern(size, seed: 3)))
        #expect(folder.names() == ["big"])
    }

    @Test func anObjectThatWasReplacedLeavesNothingBehind() throws {
        defer { store.stop() }
        store.put("a", pattern(100, seed: 1))
        let stale = try item(store, "a")
        store.put("a", pattern(100, seed: 2))
        var options = CopyOptions()
        options.onChange = .fail
        let job = CopyJob(store: store, destination: folder.path, options: options)
        job.add(stale)
        #expect(job.finish().failures.count == 1)
        #expect(folder.names().isEmpty)
    }

    @Test func partsOfAnotherVersionAreNotMixedIn() throws {
        defer { store.stop() }
        let size = 3 * Int(PartFile.partBytes)
        store.put("big", pattern(size, seed: 1))
        store.inject(MemoryFault(.fail(.network("reset")), on: .get, skip: 1, count: 1))
        let first = CopyJob(store: store, destination: folder.path, options: oneAtATime)
        first.add(try item(store, "big"))
        _ = first.finish()
        store.put("big", pattern(size, seed: 2))
        let second = CopyJob(store: store, destination: folder.path)
        second.add(try item(store, "big"))
        #expect(second.finish().failures.isEmpty)
        #expect(folder.holds("big", pattern(size, seed: 2)))
    }
}
