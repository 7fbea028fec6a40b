import Glibc
import S3
import SystemPackage
import Testing
import Threads

@testable import BlockCache

/// What the cache keeps, and for whom.
struct DiskCacheTests {
    @Test func whatIsWrittenIsReadAndACompleteFileIsTheObject() throws {
        let fixture = DiskFixture()
        let cache = try fixture.open()
        defer { cache.close() }
        for size in [1, 65_535, 65_536, 65_537, 300_000] {
            let key = diskKey("size-\(size)", size: size)
            let entry = try #require(cache.entry(key))
            #expect(!entry.has(0))
            #expect(entry.answer(0..<1, of: key) == .none)
            #expect(entry.completeFile() == nil)
            #expect(entry.fill(key))
            let whole = (0..<key.blocks).flatMap { pattern(key, $0) }
            #expect(entry.answer(0..<key.blocks, of: key) == .right)
            #expect(eventually { entry.completeFile() != nil })
            let file = try #require(entry.completeFile())
            var bytes = [UInt8](repeating: 0, count: size + 10)
            #expect(try bytes.withUnsafeMutableBytes { try file.read(fromAbsoluteOffset: 0, into: $0) } == size)
            let isSame = bytes.prefix(size).elementsEqual(whole)
            #expect(isSame)
            entry.release()
        }
        #expect(cache.entry(diskKey("empty", size: 0)) == nil)
    }

    @Test func aReadThatNeedsNoDiskIsAnsweredOnTheSpot() throws {
        let fixture = DiskFixture()
        let cache = try fixture.open()
        defer { cache.close() }
        let key = diskKey("a", size: 100_000)
        let entry = try #require(cache.entry(key))
        defer { entry.release() }
        #expect(entry.fill(key))
        var bytes = [UInt8](repeating: 0, count: 100_000)
        // Blocks are written past the page cache; the first read brings them into it.
        #expect(bytes.withUnsafeMutableBytes { entry.readNow(0..<2, into: $0, isReady: false) } == true)
        bytes = [UInt8](repeating: 0, count: 100_000)
        #expect(bytes.withUnsafeMutableBytes { entry.readNow(0..<2, into: $0) } == true)
        let isSame = bytes == (0..<2).flatMap { pattern(key, $0) }
        #expect(isSame)
    }

    @Test func opensOfOneVersionShareAnEntryAndOtherScopesSeeNothing() throws {
        let fixture = DiskFixture()
        let cache = try fixture.open()
        defer { cache.close() }
        let key = diskKey("a", size: 10)
        let first = try #require(cache.entry(key))
        let second = try #require(cache.entry(key))
        #expect(first === second)
        #expect(first.fill(key))
        first.release()
        #expect(second.has(0))
        for other in [diskKey("a", size: 10, scope: "other"), diskKey("a", size: 10, etag: "new")] {
            let entry = try #require(cache.entry(other))
            #expect(!entry.has(0))
            entry.release()
        }
        second.release()
        // The writer may be the last to let go of it.
        #expect(eventually { second.answer(0..<1, of: key) == .none }, "its files are closed")
    }

    @Test func contentsSurviveARestartAndNeedNoSecondLookAfterACleanOne() throws {
        let fixture = DiskFixture()
        let whole = diskKey("whole", size: 200_000)
        let part = diskKey("part", size: 200_000)
        do {
            let cache = try fixture.open()
            let entries = [whole, part].map { cache.entry($0)! }
            #expect(entries[0].fill(whole))
            entries[1].write(part, 2)
            // What is queued is written before `close` returns.
            cache.close()
            for entry in entries { entry.release() }
        }
        let cache = try fixture.open()
        defer { cache.close() }
        let entry = try #require(cache.entry(whole))
        #expect(entry.completeFile() != nil, "at once")
        entry.release()
        let other = try #require(cache.entry(part))
        #expect((0..<4).map { other.has($0) } == [false, false, true, false])
        #expect(other.answer(2..<3, of: part) == .right)
        other.release()
        #expect(eventually { cache.counts.objects == 2 })
    }

    @Test func afterAnUncleanStopAFileIsVerifiedBeforeItIsPassedOn() throws {
        let fixture = DiskFixture()
        let (good, bad) = (diskKey("good", size: 3_000_000), diskKey("bad", size: 3_000_000))
        do {
            let cache = try fixture.open()
            for key in [good, bad] {
                let entry = try #require(cache.entry(key))
                #expect(entry.fill(key))
                #expect(eventually { entry.completeFile() != nil })
                entry.release()
            }
            cache.close()
        }
        // As a machine that lost power leaves it: another boot, and a block that never reached the disk.
        let lock = open(fixture.path("lock"), O_WRONLY | O_TRUNC)
        #expect(lock >= 0)
        let text = Array("millrace disk cache 1\npid 1\nboot other\nepoch 1 2\nstate stopped\n".utf8)
        #expect(write(lock, text, text.count) == text.count)
        close(lock)
        fixture.flip(bad.dataName, at: 1_000_000)

        let cache = try fixture.open()
        defer { cache.close() }
        let entries = [good, bad].map { cache.entry($0)! }
        defer { for entry in entries { entry.release() } }
        #expect(entries[0].completeFile() == nil, "not before it was verified")
        #expect(eventually { entries[0].completeFile() != nil })
        #expect(entries[1].completeFile() == nil)
        #expect(eventually { !entries[1].has(1_000_000 / DiskCache.blockBytes) })
        #expect(entries[1].completeFile() == nil)
        #expect(eventually { fixture.log.lines.contains { $0.contains("not what was written") } })
        // Fetched again, it is whole again.
        #expect(entries[1].fill(bad))
        #expect(eventually { entries[1].completeFile() != nil })
    }

    @Test func aDirectoryHasOneEngine() throws {
        let fixture = DiskFixture()
        let cache = try fixture.open()
        #expect(throws: DiskCacheError.inUse(directory: fixture.directory, pid: Int(getpid()))) { try fixture.open() }
        cache.close()
        let next = try fixture.open()
        next.close()
        #expect("\(DiskCacheError.inUse(directory: "/d", pid: 7))".contains("process 7"))
    }

    @Test func aDirectoryThatCannotBeUsedIsAnErrorThatSaysWhy() throws {
        let fixture = DiskFixture()
        let path = fixture.directory + "/file"
        close(open(path, O_CREAT | O_WRONLY, 0o600))
        func error(_ path: String) -> DiskCacheError? {
            do throws(DiskCacheError) {
                try DiskCache(directory: path, maxBytes: 1 << 20, metrics: .init(), logger: .init(label: "t")).close()
                return nil
            } catch { return error }
        }
        guard case .unusable(_, _, .notDirectory) = error(path) else {
            Issue.record("\(String(describing: error(path)))")
            return
        }
        // A link, as somebody else could put into a directory that all may write to.
        let trap = fixture.directory + "/trap"
        #expect(mkdir(trap, 0o700) == 0)
        #expect(symlink("/etc", trap + "/millrace-cache") == 0)
        #expect(error(trap) == .notOurs(path: trap + "/millrace-cache"))
        #expect(error(fixture.directory + "/new/deep") == nil)
    }

    @Test func foreignFilesStayAndNobodyElseMayLook() throws {
        let fixture = DiskFixture()
        let key = diskKey("a", size: 100)
        let cache = try fixture.open()
        let entry = try #require(cache.entry(key))
        #expect(entry.fill(key))
        entry.release()
        cache.close()
        var status = stat()
        #expect(stat(fixture.folder, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o700)
        #expect(stat(fixture.path(key.dataName), &status) == 0)
        #expect(status.st_mode & 0o777 == 0o600)

        let half = String(repeating: "ab", count: 32)
        for name in ["notes.txt", "x.map", half + ".bak", half, half + ".map.old"] {
            close(open(fixture.path(name), O_CREAT | O_WRONLY, 0o600))
        }
        let again = try fixture.open(maxBytes: 1)
        #expect(eventually { again.counts.objects == 1 })
        // Half of a pair can't be used and is cleared away; the rest isn't the cache's.
        #expect(!fixture.exists(half))
        let other = try #require(again.entry(diskKey("b", size: 100)))
        other.write(diskKey("b", size: 100), 0)
        #expect(eventually { !fixture.exists(key.dataName) }, "evicted: the limit is one byte now")
        other.release()
        again.close()
        for name in ["notes.txt", "x.map", half + ".bak", half + ".map.old"] { #expect(fixture.exists(name)) }
    }
}
