import S3
import Threads

/// Answers one LIST from a catalog: of one directory, or flat of all below one, in the order of keys.
final class DirectoryListing: @unchecked Sendable {
    private let catalog: any Catalog
    private let client: WebClient
    private let request: ListRequest
    private let completion: @Sendable (Result<ListPage, S3Error>) -> Void
    /// Keys from here on are told of.
    private let position: [UInt8]
    private let limit: Int

    // One step at a time touches these.
    private var found: [Found] = []
    private var nextToken: String?
    /// Directories that are being listed, the deepest last, each with its items that are still to come (in reverse).
    private var open: [(path: [UInt8], items: [IndexItem])] = []

    private struct Found {
        var key: [UInt8]
        /// Nil: a common prefix.
        var item: IndexItem?
        var version: FileVersion?
    }

    init(
        _ catalog: any Catalog, _ client: WebClient, _ request: ListRequest,
        _ completion: @escaping @Sendable (Result<ListPage, S3Error>) -> Void
    ) {
        self.catalog = catalog
        self.client = client
        self.request = request
        self.completion = completion
        limit = min(max(request.maxKeys, 1), 1000)
        if let token = request.continuationToken {
            position = PercentEncoding.decodePath(token)
        } else {
            position = request.startAfter.map { $0.bytes + [0] } ?? []
        }
    }

    /// The completion is called once, on a transfer thread or at once.
    func start() {
        if let delimiter = request.delimiter, delimiter != UInt8(ascii: "/") {
            return completion(.failure(.badAnswer("a listing by another delimiter than /")))
        }
        let prefix = request.prefix.bytes
        let directory = Array(prefix[..<((prefix.lastIndex(of: UInt8(ascii: "/")) ?? -1) + 1)])
        enter(directory)
    }

    private func enter(_ directory: [UInt8]) {
        catalog.items(in: directory) { [self] result in
            switch result {
            case .failure(let error): completion(.failure(error))
            case .success(let items):
                open.append((directory, items.reversed()))
                // Not from here, as pages that are known come at once: the stack would grow with each directory.
                if !client.after(ms: 0, { [self] in walk() }) { completion(.failure(.cancelled)) }
            }
        }
    }

    private func walk() {
        while !open.isEmpty {
            let top = open.count - 1
            guard let item = open[top].items.popLast() else {
                open.removeLast()
                continue
            }
            let key = open[top].path + item.raw
            guard
                key.starts(with: request.prefix.bytes) || (item.isDirectory && request.prefix.bytes.starts(with: key)),
                !isBefore(key, isDirectory: item.isDirectory)
            else { continue }
            if item.isDirectory, request.delimiter == nil { return enter(key) }
            if found.count == limit {
                nextToken = found.last.map { last in
                    PercentEncoding.encode(
                        last.item == nil ? last.key.dropLast() + [UInt8(ascii: "/") + 1] : last.key + [0],
                        keepsSlash: true)
                }
                break
            }
            found.append(Found(key: key, item: item.isDirectory ? nil : item))
        }
        measure()
    }

    /// Whether all of it lies before the position.
    private func isBefore(_ key: [UInt8], isDirectory: Bool) -> Bool {
        key.lexicographicallyPrecedes(position) && !(isDirectory && position.starts(with: key))
    }

    /// Asks for the versions that the page didn't tell.
    private func measure() {
        let unknown = found.indices.filter { found[$0].item.map { $0.size == nil || $0.modified == nil } ?? false }
        guard !unknown.isEmpty else { return finish(nil) }
        let left = Locked((count: unknown.count, versions: [Int: FileVersion](), error: S3Error?.none))
        for i in unknown {
            catalog.version(of: found[i].key) { [self] result in
                let (isLast, state) = left.withLock { left in
                    left.count -= 1
                    switch result {
                    case .success(let version): left.versions[i] = version
                    // Gone since, not for us, or of no known size: it can't be shown.
                    case .failure(.noSuchKey), .failure(.denied), .failure(.badAnswer): break
                    case .failure(let error): left.error = error
                    }
                    return (left.count == 0, left)
                }
                guard isLast else { return }
                for (i, version) in state.versions { found[i].version = version }
                finish(state.error)
            }
        }
    }

    private func finish(_ error: S3Error?) {
        if let error { return completion(.failure(error)) }
        var page = ListPage(nextToken: nextToken)
        func pack(_ bytes: some Collection<UInt8>) -> Range<Int> {
            let start = page.bytes.count
            page.bytes += bytes
            return start..<page.bytes.count
        }
        for entry in found {
            guard let item = entry.item else {
                page.prefixes.append(pack(entry.key))
                continue
            }
            let version = entry.version ?? item.size.map { FileVersion(size: $0, modified: item.modified) }
            guard let version, entry.version != nil || item.modified != nil else { continue }
            page.objects.append(
                ListPage.Object(
                    key: pack(entry.key), etag: pack(version.tag.utf8), size: version.size,
                    modified: version.modified ?? 0))
        }
        completion(.success(page))
    }
}
