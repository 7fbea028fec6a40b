import Namespace
import S3
import TestSupport
import Testing

@testable import FileSystem

@Suite struct DirectoryOrderTests {
    /// A directory whose files have the inodes 100, 101, ….
    private struct Directory {
        var count: Int
        var size: UInt64 = 100_000
        func files(after inode: InodeNumber, _ limit: Int) -> [DirectoryOrder.File] {
            let first = Int(inode) - 99
            guard first < count else { return [] }
            return (first..<min(count, first + limit)).map { i in
                .init(
                    inode: UInt64(100 + i),
                    version: FileVersion(key: ObjectKey("f\(i)"), etag: "e", size: size))
            }
        }
    }

    /// Opens files and answers what was fetched before it was opened, and what else was fetched.
    private func run(
        _ opens: [Int], in directory: Directory, depth: Int = 64, budget: Int = 1 << 30
    ) -> (early: Int, useless: Int, mostAhead: Int, queries: Int, twice: Int) {
        var order = DirectoryOrder(depth: depth)
        var fetched: Set<InodeNumber> = []
        var early = 0
        var mostAhead = 0
        var queries = 0
        var twice = 0
        for open in opens {
            let inode = UInt64(100 + open)
            if fetched.remove(inode) != nil { early += 1 }
            if let query = order.opened(inode) {
                queries += 1
                order.answer(query, directory.files(after: query.after, query.count))
            }
            for file in order.next(after: inode, budgetBytes: budget) {
                if !fetched.insert(file.inode).inserted { twice += 1 }
            }
            mostAhead = max(mostAhead, fetched.count)
        }
        return (early, fetched.count, mostAhead, queries, twice)
    }

    @Test func oneReaderInOrderFindsItsFilesFetched() {
        let result = run(Array(0..<1000), in: Directory(count: 1000))
        #expect(result.early >= 995)
        #expect(result.useless == 0 && result.twice == 0)
        #expect(result.mostAhead <= 64)
        #expect(result.queries < 100)
    }

    @Test func sixteenReadersOfOneListFindTheirFilesFetched() {
        var random = Seeded(Seeded.seed)
        // Each of the next 16 files may be the next that is opened.
        var waiting = Array(0..<16)
        var opens: [Int] = []
        var next = 16
        while !waiting.isEmpty {
            let at = Int.random(in: 0..<waiting.count, using: &random)
            opens.append(waiting.remove(at: at))
            if next < 2000 {
                waiting.append(next)
                next += 1
            }
        }
        let result = run(opens, in: Directory(count: 2000))
        #expect(result.early > 1900, "\(Seeded.hint)")
        // The first opens, in a wrong order, begin several runs, which may name the same files.
        #expect(result.useless + result.twice <= 32, "\(Seeded.hint)")
    }

    @Test func readersWithAPartEachFindTheirFilesFetched() {
        let opens = (0..<500).flatMap { step in (0..<16).map { $0 * 500 + step } }
        let result = run(opens, in: Directory(count: 8000))
        #expect(result.early > 7800)
    }

    @Test func shuffledOpensFetchAlmostNothing() {
        var random = Seeded(Seeded.seed)
        let result = run((0..<10_000).shuffled(using: &random), in: Directory(count: 10_000))
        #expect(result.early + result.useless < 500, "\(Seeded.hint)")
        #expect(result.queries < 3000, "\(Seeded.hint)")
    }

    @Test func theBudgetBoundsWhatIsAhead() {
        let result = run(Array(0..<1000), in: Directory(count: 1000), budget: 1_000_000)
        #expect(result.mostAhead <= 10)
        #expect(result.early >= 990)
    }

    @Test func aDepthOfZeroFetchesNothing() {
        let result = run(Array(0..<100), in: Directory(count: 100), depth: 0)
        #expect(result.early == 0 && result.useless == 0 && result.queries == 0)
    }

    @Test func openingAFileAgainAndAgainFetchesNothingMore() {
        let result = run(Array(repeating: 5, count: 100) + [6, 6, 7, 7], in: Directory(count: 100))
        #expect(result.useless <= 8)
    }
}
