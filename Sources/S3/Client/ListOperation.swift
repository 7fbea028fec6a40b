/// One page of ListObjectsV2.
final class ListOperation: Operation, @unchecked Sendable {
    private let request: ListRequest
    private let isOfVersions: Bool
    private let completion: @Sendable (Result<ListPage, S3Error>) -> Void
    private var parser: ListPageParser?
    private var page: ListPage?

    init(
        _ request: ListRequest, ofVersions isOfVersions: Bool = false, _ client: S3Client, _ lane: Lane,
        _ completion: @escaping @Sendable (Result<ListPage, S3Error>) -> Void
    ) {
        self.request = request
        self.isOfVersions = isOfVersions
        self.completion = completion
        super.init(.list, client, lane, .demand)
    }

    override func makeRequest() -> OutgoingRequest {
        OutgoingRequest(
            key: nil, query: isOfVersions ? Self.versionsQuery(request) : Self.query(request), wantsRestoreStatus: true)
    }

    /// Percent-encoded, sorted by name as signatures want it.
    static func query(_ request: ListRequest) -> String {
        func encoded(_ bytes: some Sequence<UInt8>) -> String { PercentEncoding.encode(bytes, keepsSlash: false) }
        var parameters: [String] = []
        if let token = request.continuationToken { parameters.append("continuation-token=\(encoded(token.utf8))") }
        if let delimiter = request.delimiter { parameters.append("delimiter=\(encoded([delimiter]))") }
        parameters.append("encoding-type=url")
        parameters.append("list-type=2")
        parameters.append("max-keys=\(min(max(request.maxKeys, 1), 1000))")
        if !request.prefix.bytes.isEmpty { parameters.append("prefix=\(encoded(request.prefix.bytes))") }
        if let after = request.startAfter, request.continuationToken == nil {
            parameters.append("start-after=\(encoded(after.bytes))")
        }
        return parameters.joined(separator: "&")
    }

    /// Where a page of versions goes on: a key and, where it broke off between two versions of one, the version's ID. Both
    /// percent-encoded, in one token.
    static func versionsQuery(_ request: ListRequest) -> String {
        func encoded(_ bytes: some Sequence<UInt8>) -> String { PercentEncoding.encode(bytes, keepsSlash: false) }
        var parameters = ["encoding-type=url"]
        let markers = (request.continuationToken ?? "").split(separator: " ", omittingEmptySubsequences: false)
        if let key = markers.first, !key.isEmpty {
            parameters.append("key-marker=\(key)")
        } else if let after = request.startAfter {
            parameters.append("key-marker=\(encoded(after.bytes))")
        }
        parameters.append("max-keys=\(min(max(request.maxKeys, 1), 1000))")
        if !request.prefix.bytes.isEmpty { parameters.append("prefix=\(encoded(request.prefix.bytes))") }
        if markers.count == 2, !markers[1].isEmpty { parameters.append("version-id-marker=\(markers[1])") }
        parameters.append("versions=")
        return parameters.joined(separator: "&")
    }

    override func check(_ attempt: Attempt) -> AttemptFailure? {
        guard attempt.head.status == 200 else { return .badAnswer("status \(attempt.head.status) for a LIST") }
        parser = ListPageParser(ofVersions: isOfVersions)
        return nil
    }

    override func received(_ bytes: UnsafeRawBufferPointer, _ attempt: Attempt) -> Bool {
        if let problem = parser?.parse(bytes) {
            attempt.failure = .badAnswer("a listing that can't be read: \(problem)")
            return false
        }
        return true
    }

    override func concluded(_ attempt: Attempt, _ failure: AttemptFailure?) -> AttemptFailure? {
        if let failure { return failure }
        switch parser?.finish(prefix: request.prefix, after: request.startAfter) {
        case .success(let page):
            if let token = page.nextToken, token == request.continuationToken {
                return .badAnswer("a listing that continues with the token it was asked for")
            }
            self.page = page
            return nil
        case .failure(let malformed): return .badAnswer("a listing that can't be read: \(malformed.why)")
        case nil: return .badAnswer("an empty listing")
        }
    }

    override func ended(_ error: S3Error?) {
        if let page, error == nil { completion(.success(page)) } else { completion(.failure(error ?? .timedOut)) }
    }
}
