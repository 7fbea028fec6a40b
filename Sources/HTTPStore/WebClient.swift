import Curl
import S3
import Threads

/// Exchanges with web servers over an engine's transfer threads: a few at a time, redirects followed, the source's
/// headers sent to its own hosts alone.
final class WebClient: Sendable {
    private static let maxRedirects = 5

    let source: HTTPSource
    private let engine: TransferEngine
    private let clients: [HTTPClient]
    private let next = Locked(0)
    private let headers: Locked<[(name: String, value: String)]>
    /// Origins that the source's headers are for.
    private let ownOrigins: Set<String>

    init(_ source: HTTPSource, engine: TransferEngine) {
        self.source = source
        self.engine = engine
        headers = Locked(source.headers)
        clients = engine.threads.map { HTTPClient(thread: $0) }
        let addresses =
            switch source.location {
            case .index(let url), .list(let url): [url]
            case .urls(let lines): lines.map { String($0.prefix { !$0.isWhitespace }) }
            }
        ownOrigins = Set(addresses.compactMap { WebAddress($0)?.origin })
    }

    func replaceHeaders(_ new: [(name: String, value: String)]) { headers.withLock { $0 = new } }

    /// What hears of one answer; all on one transfer thread.
    struct Handlers: Sendable {
        /// The head of a 2xx answer; its body follows.
        var head: @Sendable (HTTPResponse) -> Void = { _ in }
        var body: @Sendable (UnsafeRawBufferPointer) -> Void = { _ in }
        /// The last call. Success with a status of any kind but a redirect.
        var done: @Sendable (Result<HTTPResponse, HTTPError>) -> Void
    }

    /// - Parameter collects: the body of a 2xx answer comes with the end, not in pieces.
    @discardableResult
    func send(
        _ method: String, _ address: WebAddress, headers: [(name: String, value: String)] = [], collects: Bool = false,
        _ handlers: Handlers
    ) -> WebTask {
        let task = WebTask()
        send(method, address, headers, collects, handlers, task, redirects: 0)
        return task
    }

    private func send(
        _ method: String, _ address: WebAddress, _ headers: [(name: String, value: String)], _ collects: Bool,
        _ handlers: Handlers, _ task: WebTask, redirects: Int
    ) {
        var request = HTTPRequest(method, address.text, timeoutMs: 0)
        request.idleTimeoutMs = source.stallTimeoutMs
        request.connection = source.connection
        request.headers = headers + [("User-Agent", "millrace"), ("Accept", "*/*")]
        if ownOrigins.contains(address.origin) { request.headers += self.headers.withLock { $0 } }
        let done: @Sendable (Result<HTTPResponse, HTTPError>) -> Void = { [self] result in
            guard case .success(let response) = result, [301, 302, 303, 307, 308].contains(response.status),
                let location = response.header("location")
            else { return handlers.done(result) }
            guard redirects < Self.maxRedirects, let target = address.resolve(location) else {
                return handlers.done(.failure(.network("a redirect that leads nowhere")))
            }
            send(method, target, headers, collects, handlers, task, redirects: redirects + 1)
        }
        let index = next.withLock { next in
            next = (next + 1) % clients.count
            return next
        }
        let started =
            collects
            ? clients[index].send(request, done)
            : clients[index].stream(request, onHead: handlers.head, onBody: handlers.body, done)
        task.goesOn(started)
    }

    /// Runs `body` on a transfer thread after a wait; false where the engine has stopped.
    @discardableResult
    func after(ms: Int, _ body: @escaping @Sendable () -> Void) -> Bool {
        let thread = engine.threads[0]
        return thread.perform { _ = thread.at(Instant.now.advanced(byMs: ms), body) }
    }
}

/// An exchange with its redirects, which can be ended.
final class WebTask: Sendable {
    private let state = Locked<(task: HTTPTask?, isCancelled: Bool)>((nil, false))

    func goesOn(_ task: HTTPTask) {
        let isCancelled = state.withLock { state in
            state.task = task
            return state.isCancelled
        }
        if isCancelled { task.cancel() }
    }

    func cancel() {
        let task = state.withLock { state in
            state.isCancelled = true
            return state.task
        }
        task?.cancel()
    }
}

/// How failed requests come again: full jitter, up to a deadline.
struct Retrying: Sendable {
    private let deadline: Instant
    private var failures = 0

    init(timeoutMs: Int) { deadline = .now.advanced(byMs: timeoutMs) }

    mutating func madeProgress() { failures = 0 }

    /// Nil: the error is final, or there is no time left. Else milliseconds to wait.
    mutating func wait(after error: S3Error) -> Int? {
        switch error {
        case .network, .timedOut, .status(408, _, _), .status(429, _, _), .status(500..., _, _): break
        default: return nil
        }
        let bound = min(5_000.0, 50.0 * Double(1 << min(failures, 20)))
        failures += 1
        let ms = Int(bound * Double.random(in: 0..<1)) + 1
        return Instant.now.advanced(byMs: ms) < deadline ? ms : nil
    }
}

extension S3Error {
    init(_ error: HTTPError) {
        switch error {
        case .timedOut: self = .timedOut
        case .cancelled: self = .cancelled
        case .invalidRequest(let why): self = .badAnswer(why)
        case .bodyTooLarge, .network: self = .network("\(error)")
        }
    }

    /// What an answer that is no 2xx means.
    init(status: Int) {
        switch status {
        case 404, 410: self = .noSuchKey
        case 401, 403: self = .denied(code: "\(status)", message: "the web server refuses the request")
        case 412, 416: self = .changed
        default: self = .status(status, code: "", message: "")
        }
    }
}
