import Glibc
import SystemPackage

/// A read that waits for bytes, or for memory. Guarded by the cache's lock until it is replied to.
final class PendingRead: @unchecked Sendable {
    let object: CachedObject
    /// In the object; not empty.
    let bytes: Range<UInt64>
    let blocks: Range<Int>
    /// The reader reads on from here, so what it has read is not wanted again soon.
    let isSequential: Bool
    let reply: any ReadReply
    /// Blocks that are not there yet.
    var missingCount = 0
    /// The slots of its blocks, pinned; filled in when all are there.
    var slots: [UInt32] = []

    init(_ object: CachedObject, _ bytes: Range<UInt64>, isSequential: Bool, reply: any ReadReply) {
        self.object = object
        self.bytes = bytes
        self.blocks = CachedObject.blocks(of: bytes)
        self.isSequential = isSequential
        self.reply = reply
    }
}

extension ReadReply {
    /// Answers with `count` bytes of pinned slots, from `offset` in the first one on.
    func data(slots: UnsafeBufferPointer<UInt32>, base: UnsafeMutableRawPointer, offset: Int, count: Int) {
        withUnsafeTemporaryAllocation(of: iovec.self, capacity: slots.count) { vectors in
            var used = 0
            var skip = offset
            var left = count
            for slot in slots {
                let start = base + Int(slot) << Arena.slotShift + skip
                let length = min(Arena.slotBytes - skip, left)
                if used > 0, vectors[used - 1].iov_base + vectors[used - 1].iov_len == start {
                    vectors[used - 1].iov_len += length
                } else {
                    vectors.initializeElement(at: used, to: iovec(iov_base: start, iov_len: length))
                    used += 1
                }
                skip = 0
                left -= length
            }
            data(UnsafeBufferPointer(rebasing: vectors[..<used]))
        }
    }
}
