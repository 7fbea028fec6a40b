/// How much room the cache may take, and what to give back. No I/O, no clock.
struct SpacePolicy: Sendable {
    /// The most that the cache's files take, in bytes.
    var maxBytes: UInt64
    /// What the cache leaves free on its file system for others, in bytes; it shrinks as they fill it.
    var reservedFreeBytes: UInt64

    /// Eviction starts above `high` of the limit and goes on down to `low`, so that it runs seldom and in bulk.
    static let high = 0.95
    static let low = 0.85

    /// The cache's limit in bytes while its files take `used` and `free` is left on the file system.
    func limit(used: UInt64, free: UInt64) -> UInt64 {
        let room = used + free
        return min(maxBytes, room > reservedFreeBytes ? room - reservedFreeBytes : 0)
    }

    /// Bytes to evict now.
    func excess(used: UInt64, free: UInt64) -> UInt64 {
        let limit = Double(limit(used: used, free: free))
        guard Double(used) > limit * Self.high else { return 0 }
        return used - UInt64(limit * Self.low)
    }

    /// Whether `bytes` more may be written.
    func admits(_ bytes: UInt64, used: UInt64, free: UInt64) -> Bool {
        used + bytes <= limit(used: used, free: free)
    }
}
