import BlockCache
import Glibc
import SystemPackage
import Threads

/// Takes the answer to one read.
final class Reader: ReadReply {
    enum Answer: Equatable, Sendable {
        case bytes([UInt8])
        case failed(Errno)
    }
    private let promise = Promise<Answer>()
    private let count = Locked(0)

    func data(_ iov: UnsafeBufferPointer<iovec>) {
        var bytes: [UInt8] = []
        for vector in iov { bytes += UnsafeRawBufferPointer(start: vector.iov_base, count: vector.iov_len) }
        give(.bytes(bytes))
    }

    func failed(_ errno: Errno) { give(.failed(errno)) }

    private func give(_ answer: Answer) {
        count.withLock { $0 += 1 }
        promise.fulfil(answer)
    }

    /// The answer so far.
    var answer: Answer? { promise.wait(until: .now) }
    /// The answer, waited for.
    func wait() -> Answer? { promise.wait(until: .now.advanced(byMs: 30_000)) }
    /// How often it was answered; must be once.
    var answerCount: Int { count.withLock { $0 } }
}
