import Curl
import Logging
import S3
import Threads

/// What there is, and where. Completions come on transfer threads, or at once.
protocol Catalog: Sendable {
    /// The items right in a directory ("" or ends in "/"), sorted by name with a directory's slash. A directory that isn't
    /// there is empty.
    func items(in directory: [UInt8], _ completion: @escaping @Sendable (Result<[IndexItem], S3Error>) -> Void)
    func address(of path: [UInt8], _ completion: @escaping @Sendable (Result<WebAddress, S3Error>) -> Void)
    func version(of path: [UInt8], _ completion: @escaping @Sendable (Result<FileVersion, S3Error>) -> Void)
}

extension IndexItem {
    /// As S3 orders and writes it.
    var raw: [UInt8] { isDirectory ? name + [UInt8(ascii: "/")] : name }
}

/// The pages that a web server makes of its directories.
final class IndexCatalog: Catalog {
    private let base: WebAddress
    private let client: WebClient
    private let gate: Gate
    private let probe: FileProbe
    private let logger: Logger
    private let pages: SharedAnswers<[UInt8], Result<[IndexItem], S3Error>>

    init(_ base: WebAddress, _ client: WebClient, _ gate: Gate, _ probe: FileProbe, _ logger: Logger) {
        self.base = base
        self.client = client
        self.gate = gate
        self.probe = probe
        self.logger = logger
        pages = SharedAnswers(ttlMs: client.source.listingTTLMs, limit: 256)
    }

    func items(in directory: [UInt8], _ completion: @escaping @Sendable (Result<[IndexItem], S3Error>) -> Void) {
        let address = base.appending(directory)
        pages.value(
            directory, keeps: { if case .success = $0 { true } else { false } },
            fetch: { [client, gate] answer in
                PageFetch.start(address, client, gate) { result in
                    switch result {
                    // The root must be there; a directory may be gone.
                    case .failure(.noSuchKey) where !directory.isEmpty: answer(.success([]))
                    case .failure(let error): answer(.failure(error))
                    case .success(let page):
                        let type = page.header("content-type") ?? ""
                        guard let items = IndexPage.parse(page.body, contentType: type, at: address) else {
                            return answer(
                                .failure(.badAnswer("\(address.text) is no index: neither HTML nor a list in JSON")))
                        }
                        answer(.success(items.sorted { $0.raw.lexicographicallyPrecedes($1.raw) }))
                    }
                }
            }, completion)
    }

    func address(of path: [UInt8], _ completion: @escaping @Sendable (Result<WebAddress, S3Error>) -> Void) {
        completion(.success(base.appending(path)))
    }

    func version(of path: [UInt8], _ completion: @escaping @Sendable (Result<FileVersion, S3Error>) -> Void) {
        probe.version(at: base.appending(path), completion)
    }
}

/// A list of URLs.
final class ListCatalog: Catalog {
    typealias Fetch = @Sendable (@escaping @Sendable (Result<URLList, S3Error>) -> Void) -> Void

    private let probe: FileProbe
    private let fetch: Fetch
    private let lists: SharedAnswers<Int, Result<URLList, S3Error>>

    init(_ client: WebClient, _ probe: FileProbe, _ logger: Logger, ttlMs: Int, fetch: @escaping Fetch) {
        self.probe = probe
        self.fetch = fetch
        lists = SharedAnswers(ttlMs: ttlMs, limit: 1)
    }

    private func list(_ completion: @escaping @Sendable (Result<URLList, S3Error>) -> Void) {
        lists.value(0, keeps: { if case .success = $0 { true } else { false } }, fetch: { fetch($0) }, completion)
    }

    func items(in directory: [UInt8], _ completion: @escaping @Sendable (Result<[IndexItem], S3Error>) -> Void) {
        list { result in
            completion(
                result.map { list in
                    var items: [IndexItem] = []
                    var i = list.firstIndex(notBefore: directory)
                    while i < list.files.count, list.files[i].path.starts(with: directory) {
                        let rest = list.files[i].path.dropFirst(directory.count)
                        let name = Array(rest.prefix { $0 != UInt8(ascii: "/") })
                        let isDirectory = name.count < rest.count
                        let item = IndexItem(name: name, isDirectory: isDirectory)
                        if items.last != item { items.append(item) }
                        i += 1
                    }
                    return items
                })
        }
    }

    func address(of path: [UInt8], _ completion: @escaping @Sendable (Result<WebAddress, S3Error>) -> Void) {
        list { result in
            completion(result.flatMap { $0.address(of: path).map { .success($0) } ?? .failure(.noSuchKey) })
        }
    }

    func version(of path: [UInt8], _ completion: @escaping @Sendable (Result<FileVersion, S3Error>) -> Void) {
        address(of: path) { [probe] result in
            switch result {
            case .failure(let error): completion(.failure(error))
            case .success(let address): probe.version(at: address, completion)
            }
        }
    }
}

/// A whole page, with retries.
enum PageFetch {
    static func start(
        _ address: WebAddress, _ client: WebClient, _ gate: Gate,
        _ completion: @escaping @Sendable (Result<HTTPResponse, S3Error>) -> Void
    ) {
        gate.enter {
            attempt(address, client, Retrying(timeoutMs: client.source.requestTimeoutMs)) { result in
                gate.leave()
                completion(result)
            }
        }
    }

    private static func attempt(
        _ address: WebAddress, _ client: WebClient, _ retrying: Retrying,
        _ completion: @escaping @Sendable (Result<HTTPResponse, S3Error>) -> Void
    ) {
        client.send(
            "GET", address, collects: true,
            .init { result in
                let error: S3Error
                switch result {
                case .success(let response):
                    if (200..<300).contains(response.status) { return completion(.success(response)) }
                    error = S3Error(status: response.status)
                case .failure(let failure): error = S3Error(failure)
                }
                var retrying = retrying
                guard let ms = retrying.wait(after: error) else { return completion(.failure(error)) }
                let next = retrying
                if !client.after(ms: ms, { attempt(address, client, next, completion) }) {
                    completion(.failure(.cancelled))
                }
            })
    }
}

/// Asks for a file's size and version, once for all who want to know.
final class FileProbe: Sendable {
    private let client: WebClient
    private let gate: Gate
    private let known: SharedAnswers<String, Result<FileVersion, S3Error>>

    init(_ client: WebClient, _ gate: Gate) {
        self.client = client
        self.gate = gate
        known = SharedAnswers(ttlMs: client.source.listingTTLMs, limit: 100_000)
    }

    func version(at address: WebAddress, _ completion: @escaping @Sendable (Result<FileVersion, S3Error>) -> Void) {
        known.value(
            address.text,
            keeps: { result in
                switch result {
                case .success, .failure(.noSuchKey): true
                case .failure: false
                }
            },
            fetch: { [client, gate] answer in
                gate.enter {
                    Self.attempt("HEAD", address, client, Retrying(timeoutMs: client.source.requestTimeoutMs)) {
                        result in
                        gate.leave()
                        answer(result)
                    }
                }
            }, completion)
    }

    private static func attempt(
        _ method: String, _ address: WebAddress, _ client: WebClient, _ retrying: Retrying,
        _ completion: @escaping @Sendable (Result<FileVersion, S3Error>) -> Void
    ) {
        let task = Locked<WebTask?>(nil)
        let answered = Locked<Result<FileVersion, S3Error>?>(nil)
        let headers = method == "GET" ? [(name: "Range", value: "bytes=0-0")] : []
        let started = client.send(
            method, address, headers: headers,
            .init(
                head: { response in
                    answered.withLock { $0 = Self.version(response) }
                    // The body is of no interest; where the server sends it whole, it ends here.
                    if method == "GET" { task.withLock { $0 }?.cancel() }
                },
                done: { result in
                    if let answer = answered.withLock({ $0 }) { return completion(answer) }
                    let error: S3Error
                    switch result {
                    case .success(let response):
                        // Some know no HEAD, or want other signatures for it.
                        if method == "HEAD", [400, 403, 405, 501].contains(response.status) {
                            return attempt("GET", address, client, retrying, completion)
                        }
                        error = S3Error(status: response.status)
                    case .failure(let failure): error = S3Error(failure)
                    }
                    var retrying = retrying
                    guard let ms = retrying.wait(after: error) else { return completion(.failure(error)) }
                    let next = retrying
                    if !client.after(ms: ms, { attempt(method, address, client, next, completion) }) {
                        completion(.failure(.cancelled))
                    }
                }))
        task.withLock { $0 = started }
        if method == "GET", answered.withLock({ $0 != nil }) { started.cancel() }
    }

    private static func version(_ response: HTTPResponse) -> Result<FileVersion, S3Error> {
        if let range = response.range, let total = range.total { return .success(FileVersion(response, total: total)) }
        guard response.status == 200, let size = response.header("content-length").flatMap(UInt64.init) else {
            return .failure(.badAnswer("the web server doesn't say how large the file is"))
        }
        return .success(FileVersion(response, total: size))
    }
}

extension HTTPResponse {
    var range: ContentRange? {
        header("content-range").flatMap { text in Array(text.utf8).withUnsafeBytes { ContentRange($0) } }
    }
}
