import Synchronization
import Threads

/// Divides read-ahead's memory between the readers that are active, each to the same part.
public final class FairShare: Sendable {
    /// A reader's own record, guarded by the reader.
    public struct Stream: Sendable {
        fileprivate var second: UInt64 = 0
        public init() {}
    }

    private struct Seconds {
        var current: UInt64 = 0
        var seenNow = 0
        var seenBefore = 0
    }

    private let totalBytes: Int
    private let bytes: Atomic<Int>
    private let seconds = Locked(Seconds())

    init(totalBytes: Int) {
        self.totalBytes = totalBytes
        bytes = Atomic(totalBytes)
    }

    /// Bytes that a reader which reads now may have ahead of it. A reader counts for the second in which it reads and
    /// the one after.
    public func bytes(for stream: inout Stream, now: Instant) -> Int {
        let second = now.nanoseconds / 1_000_000_000
        if stream.second != second {
            stream.second = second
            count(second)
        }
        return bytes.load(ordering: .relaxed)
    }

    private func count(_ second: UInt64) {
        seconds.withLock { seconds in
            if second > seconds.current {
                seconds.seenBefore = second == seconds.current + 1 ? seconds.seenNow : 0
                seconds.seenNow = 0
                seconds.current = second
            }
            seconds.seenNow += 1
            bytes.store(totalBytes / max(1, seconds.seenNow, seconds.seenBefore), ordering: .relaxed)
        }
    }
}
