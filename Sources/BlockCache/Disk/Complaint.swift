import Synchronization
import Threads

/// Something that is worth a line in the log only now and then.
final class Complaint: Sendable {
    private let next = Atomic<UInt64>(0)

    /// Whether to say it now; then not again for so long.
    func isDue(everyMs: Int) -> Bool {
        let now = Instant.now
        let due = next.load(ordering: .relaxed)
        guard now.nanoseconds >= due else { return false }
        return next.compareExchange(
            expected: due, desired: now.advanced(byMs: everyMs).nanoseconds, ordering: .relaxed
        ).exchanged
    }
}
