import Curl

/// A request that changes something: a PUT, the steps of an upload in parts, a DELETE. Each may be repeated without harm.
final class UploadOperation: Operation, @unchecked Sendable {
    struct Answer: Sendable {
        var etag: String
        var body: [UInt8]
    }

    private let request: OutgoingRequest
    private let completion: @Sendable (Result<Answer, S3Error>) -> Void
    private var answer: Answer?

    /// A server's answer to these is a small document.
    private static let maxAnswerBytes = 1 << 20

    init(
        _ name: OperationName, _ request: OutgoingRequest, _ client: S3Client, _ lane: Lane,
        _ completion: @escaping @Sendable (Result<Answer, S3Error>) -> Void
    ) {
        self.request = request
        self.completion = completion
        super.init(name, client, lane, .readAhead)
    }

    override func makeRequest() -> OutgoingRequest { request }

    /// Nothing comes while a body is sent.
    override var stallTimeoutMs: Int { timeoutMs }

    override var timeoutMs: Int {
        let configuration = client.configuration
        return configuration.requestTimeoutMs + (request.body?.bytes.count ?? 0) / configuration.minBytesPerSecond
            * 1000
    }

    override func check(_ attempt: Attempt) -> AttemptFailure? {
        answer = Answer(etag: attempt.head.etag ?? "", body: [])
        return nil
    }

    override func received(_ bytes: UnsafeRawBufferPointer, _ attempt: Attempt) -> Bool {
        guard (answer?.body.count ?? 0) + bytes.count <= Self.maxAnswerBytes else {
            attempt.failure = .badAnswer("an answer of more than \(Self.maxAnswerBytes) bytes")
            return false
        }
        answer?.body.append(contentsOf: bytes)
        return true
    }

    override func concluded(_ attempt: Attempt, _ failure: AttemptFailure?) -> AttemptFailure? {
        if let failure { return failure }
        // The end of an upload in parts may fail after its 200 was sent: the body says so.
        if let fields = XMLFields.parse(answer?.body ?? []), let code = fields["Code"] {
            return .status(ServerError(status: 500, code: code, message: fields["Message"] ?? ""))
        }
        return nil
    }

    override func ended(_ error: S3Error?) {
        if let answer, error == nil { completion(.success(answer)) } else { completion(.failure(error ?? .timedOut)) }
    }
}
