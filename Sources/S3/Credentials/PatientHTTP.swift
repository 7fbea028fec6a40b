import Curl
import Threads

/// HTTP exchanges for credentials: a few attempts with jitter, as they stand in the way of every other request.
final class PatientHTTP: Sendable {
    private let client: HTTPClient
    private let thread: TransferThread
    private let attempts: Int
    private let policy = RetryPolicy()

    init(_ thread: TransferThread, attempts: Int = 3) {
        self.thread = thread
        client = HTTPClient(thread: thread)
        self.attempts = attempts
    }

    /// The last attempt's answer, whatever its status. `make` is called for each attempt, as signatures age.
    func send(
        _ make: @escaping @Sendable () -> HTTPRequest,
        _ completion: @escaping @Sendable (Result<HTTPResponse, HTTPError>) -> Void
    ) {
        send(make, 0, completion)
    }

    private func send(
        _ make: @escaping @Sendable () -> HTTPRequest, _ failures: Int,
        _ completion: @escaping @Sendable (Result<HTTPResponse, HTTPError>) -> Void
    ) {
        client.send(make()) { [self] result in
            let isPassing =
                switch result {
                case .success(let response): response.status >= 500 || response.status == 429
                case .failure(.network), .failure(.timedOut): true
                case .failure: false
                }
            guard isPassing, failures + 1 < attempts else { return completion(result) }
            let waitMs = 100 + policy.backoffMs(failures: failures, random: .random(in: 0..<1))
            thread.at(Instant.now.advanced(byMs: waitMs)) { [self] in send(make, failures + 1, completion) }
        }
    }
}
