import Curl
import S3
import Threads

/// One read of a range of one version: by ranges where the server has them, else of the whole body, fetched once.
final class FileRead: Transfer, @unchecked Sendable {
    private let request: GetRequest
    private let client: WebClient
    private let bodies: WholeBodies
    private let gate: Gate
    private let lock = Lock()
    // Under the lock.
    private var receiver: (any GetReceiver)?
    private var task: WebTask?
    private var isInGate = false
    /// The answer under way fills a body that others may wait for.
    private var isFilling = false
    private var isAbandoned = false
    private var address: WebAddress?

    // Of one attempt at a time.
    private var offset: UInt64
    private var retrying: Retrying
    private var version: FileVersion?
    private var failure: S3Error?

    init(
        _ request: GetRequest, _ receiver: any GetReceiver, _ client: WebClient, _ bodies: WholeBodies, _ gate: Gate
    ) {
        self.request = request
        self.receiver = receiver
        self.client = client
        self.bodies = bodies
        self.gate = gate
        offset = request.range.lowerBound
        retrying = Retrying(
            timeoutMs: client.source.requestTimeoutMs + Int(clamping: request.range.count) / (16 << 10) * 1000)
    }

    func start(_ address: WebAddress) {
        lock.withLock { self.address = address }
        if let body = bodies.known(address.text, tag: request.etag) { return body.read(request.range, self) }
        gate.enter { [self] in
            let isWanted = lock.withLock {
                isInGate = true
                return receiver != nil
            }
            if isWanted { attempt(address) } else { leave() }
        }
    }

    private func attempt(_ address: WebAddress) {
        // Its turn may have come after another read found that there are no ranges.
        if let body = bodies.known(address.text, tag: request.etag) {
            leave()
            return body.read(offset..<request.range.upperBound, self)
        }
        failure = nil
        lock.withLock { (isFilling, isAbandoned) = (false, false) }
        var headers = [(name: "Range", value: "bytes=\(offset)-\(request.range.upperBound - 1)")]
        if let condition = request.etag.flatMap({ FileVersion.condition(for: $0) }) { headers.append(condition) }
        let whole = Locked<WholeBody?>(nil)
        let started = client.send(
            "GET", address, headers: headers,
            .init(
                head: { [self] response in
                    switch check(response) {
                    case .range: break
                    case .whole(let size):
                        // What comes is kept for every read of this version, unless another one is at it already.
                        let version = FileVersion(response, total: size)
                        let (body, isFirst) = bodies.begin(address, version, client)
                        if isFirst {
                            lock.withLock { isFilling = true }
                            whole.withLock { $0 = body }
                        }
                        body.read(offset..<request.range.upperBound, self)
                        if !isFirst { fail(nil) }
                    case .wrong(let error): fail(error)
                    }
                },
                body: { [self] bytes in
                    if let body = whole.withLock({ $0 }) { return body.received(bytes) }
                    take(bytes)
                },
                done: { [self] result in
                    if let body = whole.withLock({ $0 }) {
                        leave()
                        return body.ended(result)
                    }
                    concluded(result, address)
                }))
        let isCancelled = lock.withLock {
            task = started
            return (receiver == nil || isAbandoned) && !isFilling
        }
        if isCancelled { started.cancel() }
    }

    private enum Answer {
        case range
        case whole(UInt64)
        case wrong(S3Error)
    }

    private func check(_ response: HTTPResponse) -> Answer {
        let total: UInt64
        if response.status == 206 {
            guard let range = response.range, range.range.lowerBound == offset,
                range.range.upperBound <= request.range.upperBound, let size = range.total
            else { return .wrong(.badAnswer("another range than was asked for")) }
            total = size
        } else {
            guard let size = response.header("content-length").flatMap(UInt64.init) else {
                return .wrong(.badAnswer("the web server doesn't say how large the file is"))
            }
            total = size
        }
        let version = FileVersion(response, total: total)
        if let size = request.size, size != total { return .wrong(.changed) }
        if let tag = request.etag, !version.matches(tag) { return .wrong(.changed) }
        if let first = self.version, first.tag != version.tag { return .wrong(.changed) }
        if total < request.range.upperBound {
            return .wrong(
                .badAnswer("the file has \(total) bytes, fewer than the \(request.range.upperBound) asked for"))
        }
        self.version = version
        return response.status == 206 ? .range : .whole(total)
    }

    /// The attempt is of no use any more; nil: another takes its place.
    private func fail(_ error: S3Error?) {
        failure = error ?? .cancelled
        let task = lock.withLock {
            isAbandoned = true
            return self.task
        }
        task?.cancel()
    }

    private func take(_ bytes: UnsafeRawBufferPointer) {
        guard failure == nil else { return }
        let wanted = Int(min(UInt64(bytes.count), request.range.upperBound - offset))
        guard wanted > 0 else { return }
        let at = offset
        offset += UInt64(wanted)
        retrying.madeProgress()
        lock.withLock { receiver }?.received(UnsafeRawBufferPointer(rebasing: bytes[..<wanted]), at: at)
    }

    private func concluded(_ result: Result<HTTPResponse, HTTPError>, _ address: WebAddress) {
        let error: S3Error
        if let failure {
            if failure == .cancelled { return leave() }  // A body serves it, or nobody wants it.
            error = failure
        } else {
            switch result {
            case .success(let response) where (200..<300).contains(response.status):
                if offset == request.range.upperBound, let version { return end(.success(version.metadata)) }
                error = .network("the answer ended early")
            case .success(let response): error = S3Error(status: response.status)
            case .failure(let failure): error = S3Error(failure)
            }
        }
        guard let ms = retrying.wait(after: error), lock.withLock({ receiver != nil }) else {
            return end(.failure(error))
        }
        if !client.after(ms: ms, { [self] in attempt(address) }) { end(.failure(.cancelled)) }
    }

    // MARK: From a body that is fetched whole

    func received(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) {
        lock.withLock { receiver }?.received(bytes, at: offset)
    }

    /// The body will not come: this read goes for it again while there is time.
    func bodyFailed(_ error: S3Error) {
        guard let address = lock.withLock({ address }), let ms = retrying.wait(after: error) else {
            return end(.failure(error))
        }
        if !client.after(ms: ms, { [self] in start(address) }) { end(.failure(.cancelled)) }
    }

    var isWanted: Bool { lock.withLock { receiver != nil } }

    /// Tells the receiver, once.
    func end(_ result: Result<ObjectMetadata, S3Error>) {
        let receiver = lock.withLock {
            defer { self.receiver = nil }
            return self.receiver
        }
        leave()
        receiver?.finished(result)
    }

    private func leave() {
        let wasIn = lock.withLock {
            defer { isInGate = false }
            return isInGate
        }
        if wasIn { gate.leave() }
    }

    // MARK: Transfer

    func cancel() {
        client.after(ms: 0) { [self] in
            // A body is fetched to its end, as others may wait for it; this read ends all the same.
            let task = lock.withLock { isFilling ? nil : self.task }
            end(.failure(.cancelled))
            task?.cancel()
        }
    }

    func raise(to priority: Priority) {}
}
