import Testing
import Threads

@testable import Namespace

/// Against a table of single positions, with keys of one and two letters.
@Suite struct KnownRangesTests {
    @Test func agreesWithATableOfSinglePositions() {
        for seed in Random.seeds(30) {
            var random = Random(seed: seed)
            let letters: [UInt8] = [0x61, 0x62, 0x63, 0x64, 0x65]
            var universe: [[UInt8]] = [[]]
            for a in letters {
                universe.append([a])
                for b in letters { universe.append([a, b]) }
            }
            universe.sort { $0.lexicographicallyPrecedes($1) }
            var ranges = KnownRanges()
            var model = [(fetched: UInt64, isAhead: Bool)?](repeating: nil, count: universe.count)
            for _ in 0..<200 {
                let i = random.below(universe.count)
                let j = i + 1 + random.below(universe.count - i)
                let upper = j == universe.count ? nil : universe[j]
                if random.chance(70) {
                    let fetched = UInt64(random.below(4)) + 1
                    let isAhead = random.chance(30)
                    ranges.insert(
                        .init(
                            lower: universe[i], upper: upper, fetched: Instant(nanoseconds: fetched), isAhead: isAhead))
                    for k in i..<j { model[k] = (fetched, isAhead) }
                } else {
                    ranges.remove(universe[i], upper)
                    for k in i..<j { model[k] = nil }
                }
                let fetched = UInt64(random.below(4)) + 1
                let ahead = UInt64(random.below(Int(fetched))) + 1
                let since = KnownRanges.Since(Instant(nanoseconds: fetched), ahead: Instant(nanoseconds: ahead))
                let isFresh = { (k: Int) in model[k].map { $0.fetched >= ($0.isAhead ? ahead : fetched) } ?? false }
                for k in universe.indices {
                    var end = k
                    while end < universe.count, isFresh(end) { end += 1 }
                    let expected: KnownRanges.Reach =
                        end == k ? .none : end == universe.count ? .end : .until(universe[end])
                    let reach = universe[k].withUnsafeBytes { ranges.reach(from: $0, since: since) }
                    #expect(reach == expected, "\(Random.hint(seed))")
                    if reach != expected { return }
                }
                let sorted = zip(ranges.stretches, ranges.stretches.dropFirst()).allSatisfy { a, b in
                    a.upper.map { !b.lower.lexicographicallyPrecedes($0) } ?? false
                }
                #expect(sorted, "\(Random.hint(seed))")
            }
        }
    }

    @Test func doesNotGrowForEver() {
        var ranges = KnownRanges()
        for i in 0..<5000 {
            let key = Array("k\(i)".utf8)
            ranges.insert(
                .init(lower: key, upper: key + [0], fetched: Instant(nanoseconds: UInt64(i) + 1), isAhead: false))
        }
        #expect(ranges.stretches.count <= KnownRanges.limit)
        #expect(ranges.memory <= KnownRanges.limit * 160)
    }
}
