/// What the answer to a HEAD of the bucket says.
public struct BucketCheck: Sendable, Equatable {
    /// Nil: the bucket is there and may be asked for.
    public var error: S3Error?
    /// Where the bucket is, if the answer says.
    public var region: String?
    /// The server's clock less this machine's, in seconds.
    public var clockOffsetSeconds: Int64?
    /// The Server header.
    public var server: String?
}

/// HEAD of the bucket.
final class BucketOperation: Operation, @unchecked Sendable {
    private let completion: @Sendable (Result<BucketCheck, S3Error>) -> Void
    private let ownTimeoutMs: Int
    private var check: BucketCheck?

    init(
        _ timeoutMs: Int, _ client: S3Client, _ lane: Lane,
        _ completion: @escaping @Sendable (Result<BucketCheck, S3Error>) -> Void
    ) {
        self.completion = completion
        ownTimeoutMs = timeoutMs
        super.init(.headBucket, client, lane, .demand)
    }

    override var timeoutMs: Int { ownTimeoutMs }

    override func makeRequest() -> OutgoingRequest { OutgoingRequest(method: "HEAD", key: nil) }

    override func sawHead(_ head: ResponseHead) {
        check = BucketCheck(
            region: head.bucketRegion ?? check?.region, clockOffsetSeconds: head.date.map { $0 - WallClock.now },
            server: head.server)
    }

    override func ended(_ error: S3Error?) {
        switch (check, error) {
        case (var check?, let error):
            check.error = error
            completion(.success(check))
        case (nil, let error): completion(.failure(error ?? .timedOut))
        }
    }
}
