import Copy
import Glibc
import Threads

/// How a copy gets on: a line that is drawn anew on a terminal, a plain line every ten seconds elsewhere.
final class ProgressLine: @unchecked Sendable {
    private let job: CopyJob
    private let isTerminal = isatty(2) == 1
    private let started = Instant.now
    private let lock = Lock()
    private let changed: Condition
    private var isEnded = false
    private var thread: Thread?

    /// Starts to show.
    init(_ job: CopyJob) {
        self.job = job
        changed = Condition(lock)
        thread = Thread("progress") { [unowned self] in follow() }
    }

    /// Ends it, and clears the line.
    func end() {
        lock.withLock {
            isEnded = true
            changed.broadcast()
        }
        thread?.join()
        if isTerminal { Output.error("\r\u{1b}[K") }
    }

    private func follow() {
        lock.withLock {
            while !isEnded {
                let next = Instant.now.advanced(byMs: isTerminal ? 200 : 10_000)
                while !isEnded && changed.wait(until: next) {}
                if !isEnded { show() }
            }
        }
    }

    private func show() {
        let counts = job.counts
        let seconds = max(0.001, Instant.now.ms(since: started) / 1000)
        let rate = ByteSize(bytes: UInt64(Double(counts.bytes) / seconds))
        let failed = counts.failures.isEmpty ? "" : ", \(counts.failures.count) failed"
        let text = "\(counts.files) files, \(ByteSize(bytes: counts.bytes)), \(rate)/s\(failed)"
        Output.error(isTerminal ? "\r\u{1b}[K\(text)" : text + "\n")
    }
}
