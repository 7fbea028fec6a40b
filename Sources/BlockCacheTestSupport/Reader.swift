import BlockCache
import Glibc
import SystemPackage
import Threads

/// Takes the answer to one read.
public final class Reader: ReadReply {
    public enum Answer: Equatable, Sendable {
        case bytes([UInt8])
        case failed(Errno)
    }
    private let promise = Promise<Answer>()
    private let count = Locked(0)

    public init() {}

    public func data(_ iov: UnsafeBufferPointer<iovec>) {
        var bytes: [UInt8] = []
        for vector in iov { bytes += UnsafeRawBufferPointer(start: vector.iov_base, count: vector.iov_len) }
        give(.bytes(bytes))
    }

    public func failed(_ errno: Errno) { give(.failed(errno)) }

    private func give(_ answer: Answer) {
        count.withLock { $0 += 1 }
        promise.fulfil(answer)
    }

    /// The answer so far.
    public var answer: Answer? { promise.wait(until: .now) }
    /// The answer, waited for.
    public func wait() -> Answer? { promise.wait(until: .now.advanced(byMs: 30_000)) }
    /// How often it was answered; must be once.
    public var answerCount: Int { count.withLock { $0 } }
}
