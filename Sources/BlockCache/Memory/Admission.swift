import S3

/// Who gets memory when it is short: demand before read-ahead before warm-up. Counts are slots.
///
/// Readers who wait may take all that nobody holds at the moment. What is fetched for nobody yet may only fill a part
/// of the memory, and doesn't push out what was fetched that way and is still to be read, unless that is old: a reader
/// that has stopped would otherwise keep the others' read-ahead out.
struct Admission: Equatable {
    /// Slots of consumed bytes that are kept, as the kernel's page cache has them too: reusing one that is still in the
    /// processor's cache is cheaper than touching memory that isn't. 32 MiB.
    static let consumedLimit = 512
    /// Unread read-ahead older than this is given up for newer.
    static let patienceSeconds: UInt32 = 10

    struct Supply: Equatable {
        var free: Int
        var consumed: Int
        var used: Int
        var ahead: Int
        /// Age of the oldest unread read-ahead.
        var aheadAgeSeconds: UInt32
    }

    let capacity: Int
    /// Slots that are fetched or held for nobody who waits.
    private(set) var aheadCount = 0

    init(capacity: Int) { self.capacity = capacity }

    /// Read-ahead's part: a quarter is left for those who wait.
    var aheadLimit: Int { capacity - max(1, capacity / 4) }

    mutating func addAhead(_ count: Int) {
        aheadCount += count
        assert(aheadCount >= 0)
    }

    /// Whether `count` slots can be had at once.
    func admits(_ count: Int, _ priority: Priority, _ supply: Supply) -> Bool {
        switch priority {
        case .demand:
            return count <= supply.free + supply.consumed + supply.used + supply.ahead
        case .readAhead:
            let old = supply.aheadAgeSeconds > Admission.patienceSeconds ? supply.ahead : 0
            return aheadCount - old + count <= aheadLimit
                && count <= supply.free + supply.consumed + supply.used + old
        case .warmUp:
            return aheadCount + count <= aheadLimit / 2 && count <= supply.free + supply.consumed
        }
    }

    /// The list whose oldest slot makes room next; nil: the free slots do.
    func victim(_ supply: Supply) -> SlotTable.List? {
        if supply.consumed > min(Admission.consumedLimit, capacity / 4) { return .consumed }
        if supply.free > 0 { return nil }
        if supply.consumed > 0 { return .consumed }
        if supply.used > 0 { return .used }
        return .ahead
    }
}
