/// HEAD of one object.
final class HeadOperation: Operation, @unchecked Sendable {
    private let key: ObjectKey
    private let wantsChecksums: Bool
    private let completion: @Sendable (Result<ObjectMetadata, S3Error>) -> Void
    private var metadata: ObjectMetadata?

    init(
        _ key: ObjectKey, wantsChecksums: Bool = false, _ client: S3Client, _ lane: Lane,
        _ completion: @escaping @Sendable (Result<ObjectMetadata, S3Error>) -> Void
    ) {
        self.key = key
        self.wantsChecksums = wantsChecksums
        self.completion = completion
        super.init(.head, client, lane, .demand)
    }

    override func makeRequest() -> OutgoingRequest {
        var outgoing = OutgoingRequest(method: "HEAD", key: key)
        outgoing.wantsChecksums = wantsChecksums
        return outgoing
    }

    override func check(_ attempt: Attempt) -> AttemptFailure? {
        guard attempt.head.status == 200 else { return .badAnswer("status \(attempt.head.status) for a HEAD") }
        guard let size = attempt.head.contentLength else { return .badAnswer("a HEAD's answer without Content-Length") }
        metadata = ObjectMetadata(attempt.head, size: size)
        return nil
    }

    override func ended(_ error: S3Error?) {
        if let metadata, error == nil {
            completion(.success(metadata))
        } else {
            completion(.failure(error ?? .timedOut))
        }
    }
}
