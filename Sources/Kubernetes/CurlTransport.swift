import Curl

/// Reaches an API server through libcurl: one thread for all transfers of the process, no thread blocked meanwhile.
public final class CurlTransport: Transport {
    private let thread: TransferThread
    private let http: HTTPClient
    private let server: String
    private let token: TokenSource
    private let connection: ConnectionOptions
    /// Pieces of a watch that may wait for their reader; a reader that falls further behind has to list again.
    private static let mostPending = 4096

    public init(_ configuration: Configuration) {
        thread = TransferThread("kubernetes")
        http = HTTPClient(thread: thread)
        server = configuration.server
        token = TokenSource(configuration.credentials)
        var connection = ConnectionOptions()
        connection.caPEM = configuration.certificateAuthority.map { Array($0.utf8) }
        connection.clientCertificatePEM = configuration.clientCertificate.map { Array($0.utf8) }
        connection.clientKeyPEM = configuration.clientKey.map { Array($0.utf8) }
        connection.skipsVerification = configuration.skipsTLSVerification
        self.connection = connection
    }

    deinit { thread.stop() }

    public func send(_ request: APIRequest) async throws(APIError) -> APIResponse {
        let exchange = try prepared(request)
        let cancellation = Cancellation()
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                cancellation.started(http.send(exchange) { continuation.resume(returning: $0) })
            }
        } onCancel: {
            cancellation.cancel()
        }
        switch result {
        case .failure(let error): throw .network("\(error)")
        case .success(let response):
            if response.status == 401 { token.refused() }
            return APIResponse(status: response.status, headers: response.headersByName, body: response.body)
        }
    }

    public func stream(_ request: APIRequest) async throws(APIError) -> APIStream {
        var exchange = try prepared(request)
        exchange.timeoutMs = 0
        exchange.idleTimeoutMs = request.timeoutMs
        let (body, pieces) = AsyncThrowingStream<[UInt8], any Error>.makeStream(
            bufferingPolicy: .bufferingOldest(Self.mostPending))
        let cancellation = Cancellation()
        pieces.onTermination = { _ in cancellation.cancel() }
        let result: Result<APIStream, APIError> = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let answer = Once(continuation)
                let task = http.stream(
                    exchange,
                    onHead: { head in
                        answer.give(.success(APIStream(status: head.status, headers: head.headersByName, body: body)))
                    },
                    onBody: { bytes in
                        if case .dropped = pieces.yield(Array(bytes)) {
                            pieces.finish(throwing: APIError.network("the watch's reader fell behind"))
                        }
                    },
                    { [token] result in
                        switch result {
                        case .failure(let error):
                            let error = APIError.network("\(error)")
                            answer.give(.failure(error))
                            pieces.finish(throwing: error)
                        case .success(let refusal):
                            if refusal.status == 401 { token.refused() }
                            pieces.yield(refusal.body)
                            answer.give(
                                .success(
                                    APIStream(status: refusal.status, headers: refusal.headersByName, body: body)))
                            pieces.finish()
                        }
                    })
                cancellation.started(task)
            }
        } onCancel: {
            cancellation.cancel()
        }
        return try result.get()
    }

    private func prepared(_ request: APIRequest) throws(APIError) -> HTTPRequest {
        var exchange = HTTPRequest(
            request.method, server + request.target, headers: request.headers,
            body: request.body.isEmpty ? nil : request.body, timeoutMs: request.timeoutMs)
        exchange.headers.append(("User-Agent", "millrace-controller"))
        if let token = try token.current() { exchange.headers.append(("Authorization", "Bearer \(token)")) }
        exchange.connection = connection
        exchange.maxBodyBytes = 256 << 20
        return exchange
    }
}

extension HTTPResponse {
    fileprivate var headersByName: [String: String] {
        Dictionary(headers.map { ($0.name, $0.value) }) { first, _ in first }
    }
}
