import CCurl
import Threads

/// Plain HTTP exchanges over a `TransferThread`. No retries and no redirects: those are the caller's to decide.
public final class HTTPClient: Sendable {
    private let thread: TransferThread

    public init(thread: TransferThread) { self.thread = thread }

    /// Sends from any thread and collects the answer. The completion is called once, on the transfer thread; it must
    /// not block.
    @discardableResult
    public func send(
        _ request: HTTPRequest, _ completion: @escaping @Sendable (Result<HTTPResponse, HTTPError>) -> Void
    ) -> HTTPTask {
        start(request, onHead: nil, onBody: nil, completion)
    }

    /// As `send`, but a 2xx answer's body goes to `onBody` piece by piece, after `onHead`; the bytes are valid during
    /// the call. Other answers are collected, so that the completion gets the server's words.
    @discardableResult
    public func stream(
        _ request: HTTPRequest, onHead: @escaping @Sendable (HTTPResponse) -> Void,
        onBody: @escaping @Sendable (UnsafeRawBufferPointer) -> Void,
        _ completion: @escaping @Sendable (Result<HTTPResponse, HTTPError>) -> Void
    ) -> HTTPTask {
        start(request, onHead: onHead, onBody: onBody, completion)
    }

    private func start(
        _ request: HTTPRequest, onHead: (@Sendable (HTTPResponse) -> Void)?,
        onBody: (@Sendable (UnsafeRawBufferPointer) -> Void)?,
        _ completion: @escaping @Sendable (Result<HTTPResponse, HTTPError>) -> Void
    ) -> HTTPTask {
        let exchange = HTTPExchange(request, thread, onHead, onBody, completion)
        if !thread.perform({ exchange.start() }) { completion(.failure(.cancelled)) }
        return HTTPTask(exchange: exchange, thread: thread)
    }
}

/// An exchange under way.
public struct HTTPTask: Sendable {
    let exchange: HTTPExchange
    let thread: TransferThread

    /// From any thread. The completion hears `.cancelled` soon, unless it was called already.
    public func cancel() {
        thread.perform { [exchange] in exchange.cancel() }
    }
}

/// The state of one exchange; only its thread touches it.
final class HTTPExchange: TransferDelegate, @unchecked Sendable {
    private let request: HTTPRequest
    private let thread: TransferThread
    private var onHead: (@Sendable (HTTPResponse) -> Void)?
    private var onBody: (@Sendable (UnsafeRawBufferPointer) -> Void)?
    private var completion: (@Sendable (Result<HTTPResponse, HTTPError>) -> Void)?

    private var easy: Easy?
    private var response = HTTPResponse(status: 0)
    private var isTooLarge = false
    private var isStreaming = false
    private var lastProgress = Instant.now
    private var idleTimer: Timer?

    init(
        _ request: HTTPRequest, _ thread: TransferThread, _ onHead: (@Sendable (HTTPResponse) -> Void)?,
        _ onBody: (@Sendable (UnsafeRawBufferPointer) -> Void)?,
        _ completion: @escaping @Sendable (Result<HTTPResponse, HTTPError>) -> Void
    ) {
        self.request = request
        self.thread = thread
        self.onHead = onHead
        self.onBody = onBody
        self.completion = completion
    }

    func start() {
        guard completion != nil else { return }  // Cancelled before it began.
        if let problem = request.problem { return finish(.failure(.invalidRequest(problem))) }
        let easy = thread.takeEasy()
        request.connection.apply(to: easy)
        easy.set(CURLOPT_URL, request.url)
        easy.set(CURLOPT_PATH_AS_IS, 1)
        if let body = request.body { easy.setBody(body) }
        if request.method == "HEAD" {
            easy.set(CURLOPT_NOBODY, 1)
        } else {
            easy.set(CURLOPT_CUSTOMREQUEST, request.method)
        }
        if request.timeoutMs > 0 { easy.set(CURLOPT_TIMEOUT_MS, request.timeoutMs) }
        for (name, value) in request.headers { easy.addHeader(value.isEmpty ? "\(name);" : "\(name): \(value)") }
        self.easy = easy
        lastProgress = .now
        watchIdleness()
        thread.add(easy, self)
    }

    func cancel() {
        finish(.failure(.cancelled))
    }

    func transfer(_ easy: Easy, header line: UnsafeRawBufferPointer) {
        lastProgress = .now
        switch HeaderLine(line) {
        case .status(let status): response = HTTPResponse(status: status)
        case .field(let name, let value):
            response.headers.append(
                (
                    String(decoding: name.lazy.map(HeaderLine.lower), as: UTF8.self),
                    String(decoding: value, as: UTF8.self)
                ))
        case .end:
            guard response.status >= 200, let onHead, response.status < 300 else { return }
            isStreaming = true
            onHead(response)
        case .malformed: break
        }
    }

    func transfer(_ easy: Easy, body bytes: UnsafeRawBufferPointer) -> Bool {
        lastProgress = .now
        if isStreaming {
            onBody?(bytes)
            return true
        }
        guard response.body.count + bytes.count <= request.maxBodyBytes else {
            isTooLarge = true
            return false
        }
        response.body.append(contentsOf: bytes)
        return true
    }

    func transfer(_ easy: Easy, finished code: CURLcode) {
        switch code {
        case CURLE_OK: finish(.success(response))
        case CURLE_OPERATION_TIMEDOUT: finish(.failure(.timedOut))
        case CURLE_ABORTED_BY_CALLBACK: finish(.failure(.cancelled))
        case _ where isTooLarge: finish(.failure(.bodyTooLarge(maxBytes: request.maxBodyBytes)))
        default: finish(.failure(.network(easy.errorMessage(code))))
        }
    }

    private func watchIdleness() {
        guard request.idleTimeoutMs > 0 else { return }
        let deadline = lastProgress.advanced(byMs: request.idleTimeoutMs)
        if deadline <= .now { return finish(.failure(.timedOut)) }
        idleTimer = thread.at(deadline) { [self] in watchIdleness() }
    }

    private func finish(_ result: Result<HTTPResponse, HTTPError>) {
        guard let completion else { return }
        self.completion = nil
        onHead = nil
        onBody = nil
        if let idleTimer { thread.cancel(idleTimer) }
        if let easy {
            self.easy = nil
            thread.remove(easy)
            thread.giveBack(easy)
        }
        completion(result)
    }
}

extension HTTPRequest {
    /// What would let a caller's text write headers of its own, or that curl would take for something else.
    var problem: String? {
        func hasControl(_ text: String) -> Bool { text.utf8.contains { $0 < 0x20 || $0 == 0x7F } }
        if !(url.hasPrefix("http://") || url.hasPrefix("https://")) || hasControl(url) || url.contains(" ") {
            return "\"\(url)\" is not a URL that begins with http:// or https://"
        }
        if method.isEmpty || !method.utf8.allSatisfy({ $0 >= 0x41 && $0 <= 0x5A }) { return "bad method \"\(method)\"" }
        for (name, value) in headers where name.isEmpty || name.contains(":") || hasControl(name) || hasControl(value) {
            return "the header \"\(name)\" has a line end or another control character in it"
        }
        return nil
    }
}
