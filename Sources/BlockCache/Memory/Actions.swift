import S3
import SystemPackage

/// What is to be done once the cache's lock is let go: nothing of it may run under the lock.
struct Actions {
    /// GETs and disk reads to start.
    var starts: [Fetch] = []
    /// Transfers of read-ahead that somebody waits for now.
    var raises: [any Transfer] = []
    /// Transfers that nobody waits for any more.
    var cancels: [any Transfer] = []
    /// Reads with all their blocks there and pinned.
    var ready: [PendingRead] = []
    var failed: [(read: PendingRead, errno: Errno)] = []
    /// Who is to hear that a version is gone, before the reads that found it out are answered.
    var stale: [any ObjectObserver] = []
    var closings: [DiskEntry] = []

    var isEmpty: Bool {
        starts.isEmpty && ready.isEmpty && failed.isEmpty && raises.isEmpty && cancels.isEmpty && stale.isEmpty
            && closings.isEmpty
    }
}
