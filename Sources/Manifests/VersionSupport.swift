import S3
import Threads

/// Asks once whether a bucket's versions can be listed: servers that know none answer with an error or with a plain
/// listing, and credentials may lack the right (s3:ListBucketVersions).
final class VersionSupport: @unchecked Sendable {
    private let client: S3Client
    private let prefix: ObjectKey
    private let lock = Lock()
    // Under the lock.
    private var isKnown: Bool?
    private var waiting: [@Sendable (Bool) -> Void] = []

    init(_ client: S3Client, _ prefix: ObjectKey) {
        self.client = client
        self.prefix = prefix
    }

    func check(_ completion: @escaping @Sendable (Bool) -> Void) {
        let (answer, isFirst) = lock.withLock { () -> (Bool?, Bool) in
            if let isKnown { return (isKnown, false) }
            waiting.append(completion)
            return (nil, waiting.count == 1)
        }
        if let answer { return completion(answer) }
        guard isFirst else { return }
        client.listVersions(ListRequest(prefix: prefix, maxKeys: 1)) { [self] result in
            let answer: Bool
            if case .success = result { answer = true } else { answer = false }
            let waiters = lock.withLock {
                isKnown = answer
                defer { waiting = [] }
                return waiting
            }
            for waiter in waiters { waiter(answer) }
        }
    }
}
