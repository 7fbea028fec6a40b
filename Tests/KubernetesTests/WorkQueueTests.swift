import KubernetesTestSupport
import Testing
import Threads

@testable import Kubernetes

@Suite struct WorkQueueTests {
    private func at(_ ms: Int) -> Instant { Instant(nanoseconds: UInt64(ms) * 1_000_000) }

    @Test func aKeyWaitsOnceAndIsWorkedOnByOne() {
        var random = SplitMix(seed: 1)
        var queue = WorkQueueState<String>()
        queue.add("a")
        queue.add("b")
        queue.add("a")
        #expect(queue.depth == 2)
        #expect(queue.take(now: at(0)) == .key("a"))
        queue.add("a")
        #expect(queue.take(now: at(0)) == .key("b"))
        // a is wanted again, but somebody works on it.
        #expect(queue.take(now: at(0)) == .idle)
        queue.done("a", .done, now: at(1), using: &random)
        #expect(queue.take(now: at(1)) == .key("a"))
        queue.done("a", .done, now: at(2), using: &random)
        queue.done("b", .done, now: at(2), using: &random)
        #expect(queue.take(now: at(2)) == .idle)
    }

    @Test func failuresComeBackLaterAndLater() {
        var random = SplitMix(seed: 3)
        var queue = WorkQueueState<String>()
        queue.add("a")
        var now = 0
        var waits: [Int] = []
        for _ in 0..<16 {
            guard case .key = queue.take(now: at(now)) else {
                Issue.record("nothing to take")
                return
            }
            queue.done("a", .failed(), now: at(now), using: &random)
            guard case .waitUntil(let due) = queue.take(now: at(now)) else {
                Issue.record("no wait")
                return
            }
            let wait = Int(due.ms(since: at(now)))
            waits.append(wait)
            now += wait
        }
        for (i, wait) in waits.enumerated() {
            #expect(wait >= min(300_000, 100 << i) / 10 && wait <= min(300_000, 100 << i))
        }
        // A success forgets them.
        #expect(queue.take(now: at(now)) == .key("a"))
        queue.done("a", .done, now: at(now), using: &random)
        queue.add("a")
        #expect(queue.take(now: at(now)) == .key("a"))
        queue.done("a", .failed(), now: at(now), using: &random)
        guard case .waitUntil(let due) = queue.take(now: at(now)) else { return }
        #expect(due.ms(since: at(now)) <= 100)
    }

    @Test func theEarlierOfTwoDelaysWinsAndAddOvertakesBoth() {
        var queue = WorkQueueState<String>()
        queue.add("a", at: at(500))
        queue.add("a", at: at(100))
        queue.add("a", at: at(300))
        #expect(queue.take(now: at(0)) == .waitUntil(at(100)))
        queue.add("a")
        #expect(queue.take(now: at(0)) == .key("a"))
        #expect(queue.later == 0)
    }

    @Test func manyWorkersNeverShareAKey() async {
        let queue = WorkQueue<Int>()
        let seen = Seen()
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    while let key = await queue.next() {
                        await seen.start(key)
                        await Task.yield()
                        await seen.end(key)
                        await queue.done(key, await seen.count(key) == 1 ? .failed() : .done)
                    }
                }
            }
            for i in 0..<500 { await queue.add(i % 20) }
            await eventually("all keys twice") { await seen.allTwice(20) }
            await queue.close()
        }
        #expect(await seen.overlaps == 0)
    }

    private actor Seen {
        private var active: Set<Int> = []
        private var counts: [Int: Int] = [:]
        private(set) var overlaps = 0
        func start(_ key: Int) { if !active.insert(key).inserted { overlaps += 1 } }
        func end(_ key: Int) {
            active.remove(key)
            counts[key, default: 0] += 1
        }
        func count(_ key: Int) -> Int { counts[key, default: 0] }
        func allTwice(_ n: Int) -> Bool { (0..<n).allSatisfy { counts[$0, default: 0] >= 2 } }
    }
}
