import Glibc
import PrometheusMetrics
import Testing

@testable import BlockCache

/// Datasets in one cache: who gives way for whom, and what each takes.
@Suite(.serialized) struct DiskDatasetTests {
    private static let objectBytes = 1 << 20

    private func key(_ name: String) -> DiskKey { diskKey(name, size: Self.objectBytes) }

    private func fill(_ cache: DiskCache, _ name: String, of dataset: DatasetNumber) throws {
        let entry = try #require(cache.entry(key(name), of: dataset))
        #expect(entry.fill(key(name)))
        entry.release()
    }

    private func isCached(_ cache: DiskCache, _ name: String) -> Bool {
        guard let entry = cache.entry(key(name)) else { return false }
        defer { entry.release() }
        return entry.presentBytes == UInt64(Self.objectBytes)
    }

    @Test("V11: the least recently used data of the lowest priority goes first")
    func theLowestPriorityGoesFirst() throws {
        let fixture = DiskFixture()
        let cache = try fixture.open(maxBytes: 10 << 20)
        defer { cache.close() }
        let low = cache.enter(CachePolicy(dataset: "n/low", priority: 10))
        let high = cache.enter(CachePolicy(dataset: "n/high", priority: 200))
        for i in 0..<4 { try fill(cache, "high-\(i)", of: high) }
        for i in 0..<4 { try fill(cache, "low-\(i)", of: low) }
        // The last used of the lower priority gives way before the first used of the higher.
        for i in 4..<7 { try fill(cache, "high-\(i)", of: high) }
        for i in 0..<7 { #expect(isCached(cache, "high-\(i)"), "high-\(i)") }
        #expect(!isCached(cache, "low-0"))
        #expect(isCached(cache, "low-3"))
        // The lower one never takes the higher one's place, also where it can't be kept then.
        for i in 4..<12 {
            let entry = try #require(cache.entry(key("low-\(i)"), of: low))
            for block in 0..<key("low-\(i)").blocks { entry.write(key("low-\(i)"), block) }
            entry.release()
        }
        for i in 0..<7 { #expect(isCached(cache, "high-\(i)"), "high-\(i)") }
        #expect(cache.usage(of: "n/high").objects == 7)
    }

    @Test("V11: under disk pressure all gives way but what is pinned and what is being read")
    func underPressureAllGivesWayButPins() throws {
        let fixture = DiskFixture()
        do {
            let cache = try fixture.open()
            let plain = cache.enter(CachePolicy(dataset: "n/plain"))
            let pinned = cache.enter(CachePolicy(dataset: "n/pinned", priority: 0, isPinned: true))
            for name in ["a", "b", "read"] { try fill(cache, name, of: plain) }
            try fill(cache, "kept", of: pinned)
            cache.leave(plain)
            cache.leave(pinned)
            cache.close()
        }
        // More is to be left free than the disk has: as if others had filled it.
        let squeezed = try fixture.open(reserved: 1 << 60, lookMs: 20)
        defer { squeezed.close() }
        // Open before the first look, or not at all: what is open stays.
        let open = squeezed.entry(key("read"), of: squeezed.enter(CachePolicy(dataset: "n/plain")))
        let wasThere = open?.presentBytes == UInt64(Self.objectBytes)
        #expect(eventually { squeezed.usage(of: "n/pinned").objects == 1 }, "what was there is listed")
        #expect(eventually { squeezed.usage(of: "n/plain").objects == (wasThere ? 1 : 0) })
        #expect(isCached(squeezed, "kept"))
        if wasThere { #expect(open?.answer(0..<1, of: key("read")) == .right) }
        open?.release()
        #expect(eventually { squeezed.usage(of: "n/plain").objects == 0 })
        #expect(isCached(squeezed, "kept"))
    }

    @Test func aPinEndsSomeDaysAfterTheLastUse() {
        var datasets = DiskDatasets()
        let pinned = datasets.enter(CachePolicy(dataset: "a", priority: 0, isPinned: true), now: 1000)
        let later = 1000 + DiskDatasets.pinLingersSeconds
        #expect(datasets.isPinned(pinned, now: later + 5))
        datasets.leave(pinned, now: 1000)
        #expect(datasets.isPinned(pinned, now: later - 1))
        #expect(!datasets.isPinned(pinned, now: later))
        #expect(datasets.givingWay(to: nil, now: later - 1) == [[DiskDatasets.nobody]])
        #expect(datasets.givingWay(to: nil, now: later) == [[pinned], [DiskDatasets.nobody]])
    }

    @Test func priorityDecidesWhoGivesWayForWhom() {
        var datasets = DiskDatasets()
        let (low, high) = (
            datasets.enter(CachePolicy(dataset: "l", priority: 1), now: 0),
            datasets.enter(CachePolicy(dataset: "h", priority: 900), now: 0)
        )
        #expect(datasets.givingWay(to: low, now: 0) == [[low]])
        #expect(datasets.givingWay(to: DiskDatasets.nobody, now: 0) == [[low], [DiskDatasets.nobody]])
        #expect(datasets.givingWay(to: high, now: 0) == [[low], [DiskDatasets.nobody], [high]])
        #expect(datasets.outranks(high, low) && !datasets.outranks(low, high) && !datasets.outranks(low, low))
    }

    @Test func aQuotaHolds() throws {
        let fixture = DiskFixture()
        let cache = try fixture.open()
        defer { cache.close() }
        let small = cache.enter(CachePolicy(dataset: "n/small", quotaBytes: 4 << 20))
        let other = cache.enter(CachePolicy(dataset: "n/other"))
        try fill(cache, "other", of: other)
        for i in 0..<8 {
            try fill(cache, "\(i)", of: small)
            #expect(cache.usage(of: "n/small").bytes <= 4 << 20)
        }
        #expect(isCached(cache, "7") && !isCached(cache, "0"))
        #expect(isCached(cache, "other"))
    }

    @Test func whoseTheBytesAreSurvivesARestart() throws {
        let fixture = DiskFixture()
        let policy = CachePolicy(dataset: "courses/iris", priority: 700, isPinned: true, quotaBytes: 1 << 30)
        do {
            let cache = try fixture.open()
            try fill(cache, "a", of: cache.enter(policy))
            try fill(cache, "b", of: cache.enter(CachePolicy(dataset: "x\ny")))
            try fill(cache, "c", of: 0)
            cache.close()
        }
        // A process has one cache, and its own metrics.
        let registry = Registry()
        let cache = try fixture.open(metrics: registry)
        defer { cache.close() }
        #expect(eventually { cache.usage(of: "courses/iris").objects == 1 })
        #expect(cache.usage(of: "courses/iris").bytes >= UInt64(Self.objectBytes))
        #expect(cache.counts.objects == 3)
        for name in ["a", "b", "c"] { #expect(isCached(cache, name)) }
        #expect(
            registry.render().contains(
                "millrace_cache_bytes{dataset=\"courses/iris\"} \(cache.usage(of: "courses/iris").bytes)"))
        for name in ["courses/iris", "x\ny", "a\r\nb\\n\\", " é\n "] {
            let policy = CachePolicy(dataset: name, priority: 700, isPinned: true, quotaBytes: 1 << 30)
            #expect(DatasetFile.policy(DatasetFile.text(policy)) == policy)
        }
        #expect(DatasetFile.policy("nonsense") == nil && DatasetFile.policy("") == nil)
    }

    @Test func whatAnotherDatasetHasIsFoundBeforeAllFilesAreKnown() throws {
        let fixture = DiskFixture()
        let cache = try fixture.open()
        defer { cache.close() }
        let first = cache.enter(CachePolicy(dataset: "first"))
        let second = cache.enter(CachePolicy(dataset: "second"))
        try fill(cache, "a", of: first)
        #expect(eventually { cache.shelf.withLock { $0.isScanned } && cache.usage(of: "first").objects == 1 })
        // As after a restart, before the scan.
        cache.shelf.withLock { shelf in
            shelf.index = DiskIndex()
            shelf.isScanned = false
        }
        let entry = try #require(cache.entry(key("a"), of: second))
        #expect(entry.presentBytes == UInt64(Self.objectBytes))
        cache.scan()
        #expect(entry.answer(0..<16, of: key("a")) == .right)
        entry.release()
        #expect(isCached(cache, "a"))
        #expect(cache.usage(of: "first").objects == 1 && cache.usage(of: "second").objects == 0)
    }

    @Test func aSharedFileIsKeptByTheHigherRank() throws {
        let fixture = DiskFixture()
        let cache = try fixture.open()
        defer { cache.close() }
        let plain = cache.enter(CachePolicy(dataset: "plain"))
        let pinned = cache.enter(CachePolicy(dataset: "pinned", isPinned: true))
        try fill(cache, "a", of: plain)
        let reading = try #require(cache.entry(key("a"), of: plain))
        let entry = try #require(cache.entry(key("a"), of: pinned))
        #expect(entry === reading)
        #expect(cache.usage(of: "plain").objects == 0 && cache.usage(of: "pinned").objects == 1)
        #expect(entry.answer(0..<16, of: key("a")) == .right)
        #expect(entry.completeFile() != nil)
        entry.release()
        reading.release()
        #expect(isCached(cache, "a"))
        let folder = DiskDatasets.folder(of: "pinned")
        #expect(fixture.exists(DiskFiles.mapName(key("a").digest, in: folder)))
        // The lower one doesn't take it back.
        try #require(cache.entry(key("a"), of: plain)).release()
        #expect(cache.usage(of: "pinned").objects == 1)
    }
}
