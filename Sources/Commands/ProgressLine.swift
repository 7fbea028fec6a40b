import Copy
import Glibc
import Threads

/// How a copy gets on: a bar that is drawn anew on a terminal, a plain line every ten seconds elsewhere.
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
        let text = Self.text(job.counts, seconds: max(0.001, Instant.now.ms(since: started) / 1000), isBar: isTerminal)
        Output.error(isTerminal ? "\r\u{1b}[K\(text)" : text + "\n")
    }

    private static let barWidth = 24

    /// At most some 75 columns. With `isBar` it begins with a bar, once all there is to copy is known.
    static func text(_ counts: CopyJob.Counts, seconds: Double, isBar: Bool) -> String {
        let rate = ByteSize(bytes: UInt64(Double(counts.bytes) / seconds))
        let failed = counts.failures.isEmpty ? "" : ", \(counts.failures.count) failed"
        let files = counts.files + counts.skipped
        guard counts.isListed, counts.bytesFound > 0 else {
            return "\(files) files, \(ByteSize(bytes: counts.bytesDone)), \(rate)/s\(failed)"
        }
        let share = min(Double(counts.bytesDone) / Double(counts.bytesFound), 1)
        let filled = Int(share * Double(barWidth))
        let bar =
            String(repeating: "#", count: filled) + String(repeating: "-", count: barWidth - filled)
        return (isBar ? "[\(bar)] " : "") + "\(Int(share * 100)) %, \(files) of \(counts.objectsFound) files, "
            + "\(ByteSize(bytes: counts.bytesDone)) of \(ByteSize(bytes: counts.bytesFound)), \(rate)/s\(failed)"
    }
}
