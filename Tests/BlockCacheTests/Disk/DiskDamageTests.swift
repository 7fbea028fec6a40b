import Glibc
import TestSupport
import Testing

@testable import BlockCache

/// Files that aren't what was written: no byte of them is ever served.
struct DiskDamageTests {
    private let key = diskKey("damaged", size: 3 * 65_536 + 1000)

    /// A directory with the complete object.
    private func filled() throws -> DiskFixture {
        let fixture = DiskFixture()
        let cache = try fixture.open()
        let entry = try #require(cache.entry(key))
        #expect(entry.fill(key))
        #expect(eventually { entry.completeFile() != nil })
        entry.release()
        cache.close()
        return fixture
    }

    /// Blocks that are read after a restart, each right or not there.
    private func readable(_ fixture: DiskFixture) throws -> [Int] {
        let cache = try fixture.open()
        defer { cache.close() }
        let entry = try #require(cache.entry(key))
        defer { entry.release() }
        return (0..<key.blocks).filter { block in
            let answer = entry.answer(block..<block + 1, of: key)
            #expect(answer != .wrong)
            #expect(entry.has(block) == (answer == .right), "what was found wrong is gone")
            return answer == .right
        }
    }

    @Test func anyByteOfTheData() throws {
        let fixture = try filled()
        var numbers = Seeded(5)
        for _ in 0..<40 {
            let at = Int.random(in: 0..<Int(key.size), using: &numbers)
            let mask = UInt8.random(in: 1...255, using: &numbers)
            fixture.flip(key.dataName, at: at, with: mask)
            #expect(try readable(fixture) == (0..<key.blocks).filter { $0 != at / DiskCache.blockBytes })
            // Healed by the next fetch.
            let cache = try fixture.open()
            let entry = try #require(cache.entry(key))
            #expect(entry.fill(key))
            entry.release()
            cache.close()
        }
    }

    /// The kernel would read a complete file with no look at its checksums.
    @Test func damageAfterACleanStopIsFoundBeforeTheKernelGetsTheFile() throws {
        let fixture = try filled()
        var times = [timespec(), timespec()]
        var status = stat()
        #expect(stat(fixture.path(key.dataName), &status) == 0)
        times = [status.st_atim, status.st_mtim]
        fixture.flip(key.dataName, at: 70_000)
        #expect(utimensat(AT_FDCWD, fixture.path(key.dataName), &times, 0) == 0, "also where it hides its time")
        let cache = try fixture.open()
        defer { cache.close() }
        let entry = try #require(cache.entry(key))
        defer { entry.release() }
        // The first call starts to look.
        var wasGiven = false
        #expect(
            eventually {
                wasGiven = wasGiven || entry.completeFile() != nil
                return !entry.has(1)
            })
        #expect(!wasGiven)
        #expect(entry.answer(0..<1, of: key) == .right)
        #expect(entry.fill(key), "healed by the next fetch")
        #expect(eventually { entry.completeFile() != nil })
    }

    @Test func aFileThatWasTouchedIsVerifiedOnceMore() throws {
        let fixture = try filled()
        #expect(utimensat(AT_FDCWD, fixture.path(key.dataName), nil, 0) == 0)
        let cache = try fixture.open()
        let entry = try #require(cache.entry(key))
        #expect(entry.completeFile() == nil)
        #expect(eventually { entry.completeFile() != nil })
        entry.release()
        cache.close()
        let next = try fixture.open()
        defer { next.close() }
        let again = try #require(next.entry(key))
        #expect(again.completeFile() != nil, "at once")
        again.release()
    }

    @Test func anyByteOfTheMap() throws {
        let fixture = try filled()
        let size = fixture.size(key.mapName)
        #expect(size == MapFile.headerBytes + key.blocks * MapFile.recordBytes)
        for at in 0..<size {
            fixture.flip(key.mapName, at: at)
            let cache = try fixture.open()
            let entry = try #require(cache.entry(key))
            let missing = (0..<key.blocks).filter { !entry.has($0) }
            if at < MapFile.headerBytes {
                #expect(missing.count == key.blocks)
            } else {
                #expect(missing == [(at - MapFile.headerBytes) / MapFile.recordBytes])
            }
            #expect(entry.completeFile() == nil)
            entry.release()
            cache.close()
            fixture.flip(key.mapName, at: at)
        }
        #expect(try readable(fixture).count == key.blocks)
    }

    @Test func aMapCutAnywhere() throws {
        let fixture = try filled()
        for size in stride(from: fixture.size(key.mapName), through: 0, by: -5) {
            #expect(truncate(fixture.path(key.mapName), off_t(size)) == 0)
            let whole = max(0, size - MapFile.headerBytes) / MapFile.recordBytes
            #expect(try readable(fixture) == Array(0..<whole))
        }
    }

    @Test func dataOfAnotherLength() throws {
        for size in [0, 1, 65_536, Int(key.size) - 1, Int(key.size) + 1] {
            let fixture = try filled()
            #expect(truncate(fixture.path(key.dataName), off_t(size)) == 0)
            #expect(try readable(fixture) == [])
        }
    }

    @Test func filesOfAnotherObject() throws {
        let fixture = try filled()
        let other = diskKey("other", size: Int(key.size))
        for name in [(key.dataName, other.dataName), (key.mapName, other.mapName)] {
            #expect(rename(fixture.path(name.0), fixture.path(name.1)) == 0)
        }
        let cache = try fixture.open()
        defer { cache.close() }
        let entry = try #require(cache.entry(other))
        defer { entry.release() }
        #expect(!(0..<other.blocks).contains { entry.has($0) })
        #expect(entry.fill(other), "and they are replaced")
        #expect(entry.answer(1..<3, of: other) == .right)
    }

    @Test func filesRemovedWhileTheyAreOpen() throws {
        let fixture = try filled()
        let cache = try fixture.open()
        defer { cache.close() }
        let entry = try #require(cache.entry(key))
        defer { entry.release() }
        #expect(truncate(fixture.path(key.dataName), 70_000) == 0)
        #expect(entry.answer(0..<1, of: key) == .right)
        #expect(entry.answer(1..<2, of: key) == .none)
        #expect(!entry.has(1))
        #expect(entry.completeFile() == nil)
        #expect(spawn(["/bin/rm", "-rf", fixture.folder]) == 0)
        let next = diskKey("next", size: 10)
        let stranger = try #require(cache.entry(next))
        stranger.write(next, 0)
        #expect(eventually { fixture.log.lines.contains { $0.contains("cannot write to the disk cache") } })
        #expect(!stranger.has(0))
        stranger.release()
    }
}
