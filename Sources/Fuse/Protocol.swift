/// The parts of the kernel's FUSE protocol that this target reads and writes itself: READ, INIT and notifications.
/// Layouts are those of <linux/fuse.h>; all integers are in host order.
enum Protocol {
    enum Opcode {
        static let forget: UInt32 = 2
        static let read: UInt32 = 15
        static let initialize: UInt32 = 26
        static let interrupt: UInt32 = 36
        static let notifyReply: UInt32 = 41
        static let forgetMany: UInt32 = 42

        /// Whether the kernel waits for an answer.
        static func isAnswered(_ opcode: UInt32) -> Bool {
            opcode != forget && opcode != forgetMany && opcode != interrupt && opcode != notifyReply
        }
    }

    /// struct fuse_in_header
    static let inHeaderBytes = 40
    /// struct fuse_in_header and struct fuse_interrupt_in
    static let interruptRequestBytes = 48
    /// struct fuse_in_header and struct fuse_read_in
    static let readRequestBytes = 80
    /// struct fuse_out_header: u32 length, i32 negated errno, u64 unique
    static let outHeaderBytes = 16
    /// struct fuse_init_out
    static let initAnswerBytes = 64

    static let notifyResend: Int32 = 7
    /// Set in `unique` of a request that the kernel queued again.
    static let resentBit: UInt64 = 1 << 63

    static func outHeader(_ length: Int, _ error: Int32, _ unique: UInt64) -> (UInt32, Int32, UInt64) {
        (UInt32(length), error, unique)
    }

    /// A request takes at most this much: names, extended attributes and batches of FORGET; there are no writes. The
    /// kernel wants room for `maxWrite` and the headers.
    static let maxWrite = 128 << 10
    static let requestBufferBytes = maxWrite + 4096
    /// READs and READDIRs are at most this long: 256 pages of 4 KiB is the kernel's own limit.
    static let maxPages = 256
}
