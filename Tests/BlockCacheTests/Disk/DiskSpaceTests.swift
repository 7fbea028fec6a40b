import Glibc
import Testing

@testable import BlockCache

/// Limits: the cache's own, the disk's, the queue's.
@Suite(.serialized) struct DiskSpaceTests {
    private static let objectBytes = 1 << 20

    private func fill(_ cache: DiskCache, _ name: String) -> DiskEntry? {
        let key = diskKey(name, size: Self.objectBytes)
        guard let entry = cache.entry(key) else { return nil }
        return entry.fill(key) ? entry : nil
    }

    @Test func theLeastRecentlyUsedGoesAndTheLimitHolds() throws {
        let fixture = DiskFixture()
        let limit = 10 << 20
        let cache = try fixture.open(maxBytes: limit)
        defer { cache.close() }
        for i in 0..<8 { try #require(fill(cache, "\(i)")).release() }
        // "0" is used again, so "1" is the oldest.
        try #require(cache.entry(diskKey("0", size: Self.objectBytes))).release()
        for i in 8..<12 {
            try #require(fill(cache, "\(i)")).release()
            #expect(cache.counts.bytes <= UInt64(limit))
        }
        func isCached(_ i: Int) -> Bool { fixture.exists(diskKey("\(i)", size: Self.objectBytes).mapName) }
        #expect(isCached(0))
        #expect(!isCached(1) && !isCached(2))
        #expect(isCached(11))
        #expect(cache.counts.objects == (0..<12).filter(isCached).count)
    }

    @Test func theOrderOfUseSurvivesARestart() throws {
        let fixture = DiskFixture()
        let keys = (0..<5).map { diskKey("\($0)", size: Self.objectBytes) }
        do {
            let cache = try fixture.open(maxBytes: 10 << 20)
            for i in 0..<5 { try #require(fill(cache, "\(i)")).release() }
            cache.close()
        }
        for (i, key) in keys.enumerated() {
            // Uses an hour apart; "3" longest ago.
            var times = [timespec(tv_sec: 1_700_000_000 + (i == 3 ? 0 : 3600 * (i + 1)), tv_nsec: 0)]
            times.append(times[0])
            #expect(utimensat(AT_FDCWD, fixture.path(key.mapName), &times, 0) == 0)
        }
        let cache = try fixture.open(maxBytes: 5 << 20)
        defer { cache.close() }
        #expect(eventually { cache.counts.objects == 5 })
        try #require(fill(cache, "new")).release()
        #expect(!fixture.exists(keys[3].mapName) && !fixture.exists(keys[3].dataName))
        #expect(fixture.exists(keys[4].mapName))
    }

    @Test func whatIsOpenIsNeverEvicted() throws {
        let fixture = DiskFixture()
        let cache = try fixture.open(maxBytes: 4 << 20)
        defer { cache.close() }
        let open = try #require(fill(cache, "open"))
        let key = diskKey("open", size: Self.objectBytes)
        for i in 0..<12 { try #require(fill(cache, "\(i)")).release() }
        #expect(open.answer(0..<16, of: key) == .right)
        #expect(fixture.exists(key.dataName))
        open.release()
    }

    @Test func aCacheFullOfOpenFilesRefusesAndReadsGoOn() throws {
        let fixture = DiskFixture()
        let cache = try fixture.open(maxBytes: 2 << 20)
        defer { cache.close() }
        let open = try #require(fill(cache, "open"))
        defer { open.release() }
        let big = diskKey("big", size: 4 << 20)
        let entry = try #require(cache.entry(big))
        defer { entry.release() }
        for block in 0..<big.blocks { entry.write(big, block) }
        #expect(eventually { fixture.log.lines.contains { $0.contains("full of what can't give way") } })
        #expect(cache.counts.bytes <= 2 << 20)
        let cached = (0..<big.blocks).filter { entry.has($0) }
        #expect(!cached.isEmpty && cached.count < big.blocks)
        for block in cached { #expect(entry.answer(block..<block + 1, of: big) == .right) }
        #expect(fixture.log.lines.filter { $0.contains("full of what can't give way") }.count == 1, "said once")
    }

    @Test(.enabled(if: getuid() == 0, "needs root to mount a small tmpfs"))
    func aFullDiskFailsNoRead() throws {
        let fixture = DiskFixture()
        #expect(spawn(["/bin/mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", fixture.directory]) == 0)
        defer { _ = spawn(["/bin/umount", "-l", fixture.directory]) }
        // Somebody else takes half, so that the disk is full long before the cache's limit.
        let others = fixture.directory + "/others"
        #expect(spawn(["/bin/dd", "if=/dev/zero", "of=\(others)", "bs=64k", "count=16", "status=none"]) == 0)

        let cache = try fixture.open(maxBytes: 1 << 30, pauseMs: 1)
        defer { cache.close() }
        let key = diskKey("big", size: 4 << 20)
        let entry = try #require(cache.entry(key))
        for block in 0..<key.blocks { entry.write(key, block) }
        #expect(eventually { !fixture.log.lines.isEmpty })
        for block in (0..<key.blocks) where entry.has(block) {
            #expect(entry.answer(block..<block + 1, of: key) == .right)
        }
        entry.release()
        #expect(fixture.log.lines.count == 1, "said once: \(fixture.log.lines)")

        // Room again: writing goes on.
        #expect(unlink(others) == 0)
        let small = diskKey("small", size: 200_000)
        let next = try #require(cache.entry(small))
        #expect(next.fill(small))
        #expect(next.answer(0..<4, of: small) == .right)
        next.release()
    }

    @Test(.enabled(if: getuid() == 0, "needs root to mount a small tmpfs"))
    func theReserveStaysFreeForOthers() throws {
        let fixture = DiskFixture()
        #expect(spawn(["/bin/mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", fixture.directory]) == 0)
        defer { _ = spawn(["/bin/umount", "-l", fixture.directory]) }
        let cache = try fixture.open(maxBytes: 1 << 30, reserved: 4 << 20)
        defer { cache.close() }
        for i in 0..<10 { try #require(fill(cache, "\(i)")).release() }
        var status = statvfs()
        #expect(statvfs(fixture.directory, &status) == 0)
        #expect(UInt64(status.f_bavail) * UInt64(status.f_frsize) >= 4 << 20)
        #expect(cache.counts.objects >= 2)
    }

    @Test func aFullQueueDropsAndNeverWaits() throws {
        let fixture = DiskFixture()
        let cache = try fixture.open(queueBytes: 1 << 17)
        defer { cache.close() }
        let key = diskKey("big", size: 64 << 20)
        let entry = try #require(cache.entry(key))
        defer { entry.release() }
        let block = pattern(key, 0)
        for number in 0..<key.blocks { block.withUnsafeBytes { entry.write(number, $0) } }
        let dropped = { fixture.registry.counter("millrace_disk_cache_dropped_blocks_total", "").value }
        #expect(eventually { (0..<key.blocks).filter { entry.has($0) }.count + dropped() == key.blocks })
        #expect(dropped() > 0)
    }
}
