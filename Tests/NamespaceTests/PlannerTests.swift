import Testing
import Threads

@testable import Namespace

@Suite struct PlannerTests {
    /// Whatever the scale guesses, and in whatever order the pages come, all is listed once through.
    @Test func everyKeyIsListedWhateverTheNames() throws {
        for seed in Random.seeds(40) {
            var random = Random(seed: seed)
            let keys = keys(&random)
            let landmarks: [[UInt8]] =
                random.chance(50)
                ? [] : Set(keys.prefix(2000).map { Array($0.prefix(2)) }).sorted { $0.lexicographicallyPrecedes($1) }
            var planner = SplitPlanner(
                lower: [], upper: nil, scale: KeyScale(landmarks: landmarks), lanes: 8, expectedPages: 20)
            var seen = Set<[UInt8]>()
            var pending: [SplitPlanner.Request] = []
            var sent = 0
            while !planner.isDone {
                let new = planner.next(allowance: .max)
                sent += new.count
                pending += new
                try #require(!pending.isEmpty, "stuck, \(Random.hint(seed))")
                try #require(sent < keys.count / 10 + 1000, "too many, \(Random.hint(seed))")
                if random.chance(10) { planner.want(keys[random.below(keys.count)]) }
                let request = pending.remove(at: random.below(pending.count))
                let page = Array(keys.filter { !$0.lexicographicallyPrecedes(request.lower) }.prefix(Self.pageKeys + 1))
                let told = page.prefix(Self.pageKeys)
                let isLast = page.count <= Self.pageKeys
                seen.formUnion(told)
                let end = planner.end(of: request.segment) ?? nil
                let useful = told.count { key in end.map { key.lexicographicallyPrecedes($0) } ?? true }
                try planner.received(
                    request.segment,
                    .init(
                        count: told.count * 50, useful: useful * 50, reached: isLast ? nil : told.last! + [0],
                        token: isLast ? nil : "t\(sent)")
                ) { scale in for key in told { key.withUnsafeBytes { scale.learn($0) } } }
            }
            #expect(seen.count == keys.count, "\(Random.hint(seed))")
        }
    }

    private static let pageKeys = 20

    private func keys(_ random: inout Random) -> [[UInt8]] {
        let kind = random.below(5)
        // Few keys leave positions of which little, or nothing that is ASCII, was seen.
        let count = random.below(random.chance(30) ? 8 : 1500) + 1
        let keys = (0..<count).map { i -> [UInt8] in
            switch kind {
            case 0: Array("f\(padded(i, 6))".utf8)
            case 1: Array(hex(random.next()).utf8)
            case 2: (0..<random.below(6) + 1).map { _ in UInt8(random.below(255)) + 1 }
            case 3: Array("数据\(random.below(3))/図\(random.below(100_000))é".utf8)
            default: Array("\(random.below(9))/\(random.below(100_000))".utf8)
            }
        }
        return Set(keys).sorted { $0.lexicographicallyPrecedes($1) }
    }

    @Test func aScaleNeverFalls() {
        for seed in Random.seeds(300) {
            var random = Random(seed: seed)
            let keys = keys(&random)
            var scale = KeyScale(landmarks: random.chance(50) ? [] : Array(keys.prefix(3)))
            for key in keys.prefix(200) { key.withUnsafeBytes { scale.learn($0) } }
            scale.settle()
            let places = keys.map { key in key.withUnsafeBytes { scale.place($0) } }
            // Sums of fractions are rounded.
            let isRising = zip(places, places.dropFirst()).allSatisfy { $0 <= $1 + 1e-9 }
            #expect(isRising, "\(Random.hint(seed))")
            #expect(places.allSatisfy { $0 >= 0 && $0 <= scale.length }, "\(Random.hint(seed))")
            // What it makes of a place is a key, or nothing.
            for _ in 0..<20 { _ = scale.key(at: scale.length * Double(random.below(1000)) / 1000) }
        }
    }

    /// Of such a position there is no digit to tell, and none to make a cut with.
    @Test func aPositionWithoutASCIIHasAPlaceAndNoCut() {
        for landmarks in [[], [Array("a/".utf8), Array("b/".utf8)]] {
            var scale = KeyScale(landmarks: landmarks)
            let keys = ["a/f数1", "a/f図2", "b/f数3", "b/é"].map { Array($0.utf8) }
            for key in keys { key.withUnsafeBytes { scale.learn($0) } }
            scale.settle()
            let places = keys.map { key in key.withUnsafeBytes { scale.place($0) } }
            #expect(places.allSatisfy { $0 >= 0 && $0 <= scale.length } && places == places.sorted())
            for step in 0..<50 {
                let key = scale.key(at: scale.length * Double(step) / 50)
                #expect(key?.allSatisfy { $0 < 128 } ?? true)
            }
        }
    }

    @Test func aRepeatedTokenIsAFault() throws {
        var planner = SplitPlanner(lower: [], upper: nil, lanes: 1)
        _ = planner.next(allowance: 9)
        try planner.received(0, .init(count: 1, useful: 1, reached: [0x61], token: "t")) { _ in }
        _ = planner.next(allowance: 9)
        #expect(throws: SplitPlanner.Fault.repeatedToken) {
            try planner.received(0, .init(count: 1, useful: 1, reached: [0x62], token: "t")) { _ in }
        }
    }

    @Test func emptyPagesComeToAnEnd() throws {
        var planner = SplitPlanner(lower: [], upper: nil, lanes: 1)
        var pages = 0
        #expect(throws: SplitPlanner.Fault.noProgress) {
            while pages < 1000 {
                pages += 1
                let sent = planner.next(allowance: .max).count
                #expect(sent == 1)
                try planner.received(0, .init(count: 0, useful: 0, reached: [], token: "t\(pages)")) { _ in }
            }
        }
        #expect(pages == SplitPlanner.maxEmptyPages + 1)
    }

    @Test func aCrawlIsSeenAtTheThirdChild() {
        var detector = CrawlDetector()
        func isCrawl(_ child: InodeNumber, in parent: InodeNumber, atMs ms: Int = 0) -> Bool {
            detector.listed(child, in: parent, now: Instant(nanoseconds: 1_000_000_000).advanced(byMs: ms))
        }
        #expect(!isCrawl(10, in: 1))
        #expect(!isCrawl(11, in: 1))
        #expect(!isCrawl(11, in: 1))
        #expect(!isCrawl(20, in: 2))
        #expect(isCrawl(12, in: 1))
        #expect(!isCrawl(13, in: 1))
        #expect(!isCrawl(21, in: 2, atMs: 20_000))
        #expect(!isCrawl(22, in: 2, atMs: 20_000))
        detector.ban(2, now: Instant(nanoseconds: 1_000_000_000).advanced(byMs: 20_000))
        #expect(!isCrawl(23, in: 2, atMs: 20_000))
    }
}
