import Curl

/// The transfer threads of a process. Clients of one engine share threads and, where endpoint and TLS settings are
/// equal, connections.
public final class TransferEngine: Sendable {
    public let threads: [TransferThread]

    /// One thread moves about 1 GB/s; two are enough for most networks.
    public init(threads: Int = 2) {
        self.threads = (0..<max(1, threads)).map { TransferThread("s3-\($0)") }
    }

    /// Ends all requests with `.cancelled`, and those that come later too.
    public func stop() {
        for thread in threads { thread.stop() }
    }
}
