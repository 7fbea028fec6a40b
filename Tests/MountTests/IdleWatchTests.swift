import Testing
import Threads

@testable import Mount

@Suite("Watching for rest")
struct IdleWatchTests {
    @Test("the action comes once after each time of activity, and never without")
    func once() {
        let done = Locked(0)
        let watch = IdleWatch(afterMs: 5) { done.withLock { $0 += 1 } }
        defer { watch.stop() }
        for turn in 0..<5 {
            let rest = Instant.now.advanced(byMs: 30)
            #expect(!eventually(rest) { done.withLock { $0 } != turn }, "nothing happened")
            for _ in 0..<3 { watch.touch() }
            #expect(eventually { done.withLock { $0 } == turn + 1 })
        }
    }

    @Test("the action waits while things go on")
    func busy() {
        let done = Locked(0)
        let watch = IdleWatch(afterMs: 1000) { done.withLock { $0 += 1 } }
        let busy = Instant.now.advanced(byMs: 50)
        while Instant.now < busy { watch.touch() }
        #expect(done.withLock { $0 } == 0)
        // Ends at once, with no action.
        watch.stop()
        #expect(done.withLock { $0 } == 0)
    }

    @Test("touched by many threads at the moment of rest, it is armed again or acts, and never sleeps through")
    func races() {
        let done = Locked(0)
        let watch = IdleWatch(afterMs: 1) { done.withLock { $0 += 1 } }
        defer { watch.stop() }
        let threads = (0..<4).map { _ in
            Thread("touch") {
                for _ in 0..<2000 {
                    watch.touch()
                    for _ in 0..<200 { _ = Instant.now }
                }
            }
        }
        for thread in threads { thread.join() }
        // After the last touch there is one more action, however the touches fell.
        watch.touch()
        let before = done.withLock { $0 }
        watch.touch()
        #expect(eventually { done.withLock { $0 } > before })
    }
}
