import Copy
import Namespace
import S3
import Threads

/// Finds what a source has and gives it to a copy.
struct CopyFinder {
    var store: any ObjectStore
    var source: CopySource
    var isStringPrefix: Bool

    /// Everything below the source, listed ahead of the copying so that its end is soon known.
    func addAll(to job: CopyJob) throws {
        let (prefix, dropped) = prefixes
        let items = ItemQueue()
        let lister = Thread("list") { [store] in
            var error: S3Error?
            do {
                try FlatListing(store, prefix: prefix).forEachPage { page throws(Cancelled) in
                    if job.isStopped { throw Cancelled() }
                    job.found(objects: page.objects.count, bytes: page.objects.reduce(0) { $0 + $1.size })
                    items.put(page)
                }
            } catch ListingFailure<Cancelled>.listing(let failure) {
                error = failure
            } catch {}
            if error == nil { job.foundAll() }
            items.end(error)
        }
        defer { lister.join() }
        var isEmpty = true
        while let page = items.take() {
            isEmpty = false
            for object in page.objects { add(object, of: page, dropped, to: job) }
        }
        if let error = items.error { throw failure(error, "cannot list \(source.description)") }
        if isEmpty, !job.isStopped { throw nothing }
    }

    private struct Cancelled: Error {}

    private func add(_ object: ListPage.Object, of page: ListPage, _ dropped: Int, to job: CopyJob) {
        let key = page.key(of: object)
        switch CopyPath(name: key.bytes.dropFirst(dropped)) {
        case .directory: job.found(objects: -1, bytes: 0)
        case .refused(let why): job.refuse(key, why)
        case .file(let path):
            job.add(
                CopyItem(
                    key: key, etag: page.etag(of: object), size: object.size, modified: object.modified,
                    relativePath: path))
        }
    }

    /// What is listed, and how much of each key isn't part of its file's path: up to the last slash of the prefix.
    private var prefixes: (ObjectKey, Int) {
        guard case .s3(let url) = source else { return (ObjectKey(""), 0) }
        guard isStringPrefix else { return (url.directoryPrefix, url.directoryPrefix.bytes.count) }
        let slash = url.path.utf8.lastIndex(of: UInt8(ascii: "/"))
        return (ObjectKey(url.path), slash.map { url.path.utf8.distance(from: url.path.startIndex, to: $0) + 1 } ?? 0)
    }

    private var nothing: Failure {
        switch source {
        case .s3(let url):
            Failure(
                "cannot copy \(url)", because: "nothing begins with it",
                fix: "see what is there: millrace ls s3://\(url.bucket)/")
        case .web:
            Failure("cannot copy \(source.description)", because: "it lists no files", fix: "check the URL")
        }
    }

    /// The one object or URL, to the file DEST or into the directory DEST.
    func addOne(to job: CopyJob, _ destination: String) throws {
        let key = try keyOfOne()
        let promise = Promise<Result<ObjectMetadata, S3Error>>()
        store.head(key) { promise.fulfil($0) }
        switch promise.wait(until: Instant.now.advanced(byMs: 300_000)) ?? .failure(.timedOut) {
        case .failure(.noSuchKey):
            throw Failure(
                "cannot copy \(source.description)", because: "there is no such object",
                fix: "for everything below it, end it in a slash or use --recursive")
        case .failure(let error): throw failure(error, "cannot copy \(source.description)")
        case .success(let metadata):
            let goesInto = Destination.isDirectory(destination) || destination.hasSuffix("/")
            var path = ""
            if goesInto {
                let name = key.bytes.split(separator: UInt8(ascii: "/")).last.map(Array.init) ?? key.bytes
                guard case .file(let file) = CopyPath(name: name) else {
                    throw Failure(
                        "cannot copy \(source.description)", because: "its name is no file's",
                        fix: "name the file to copy to")
                }
                path = file
            }
            job.found(objects: 1, bytes: metadata.size)
            job.foundAll()
            job.add(
                CopyItem(
                    key: key, etag: metadata.etag, size: metadata.size, modified: metadata.modified, relativePath: path)
            )
        }
    }

    private func keyOfOne() throws -> ObjectKey {
        if case .s3(let url) = source { return ObjectKey(url.path) }
        // A list of one URL has one key: the file's name.
        let promise = Promise<Result<ListPage, S3Error>>()
        store.list(ListRequest(prefix: ObjectKey(""))) { promise.fulfil($0) }
        switch promise.wait(until: Instant.now.advanced(byMs: 300_000)) ?? .failure(.timedOut) {
        case .failure(let error): throw failure(error, "cannot copy \(source.description)")
        case .success(let page):
            guard let object = page.objects.first else { throw nothing }
            return page.key(of: object)
        }
    }

    private func failure(_ error: S3Error, _ what: String) -> Failure {
        if case .s3(let url) = source { return Explanation(error, source: url).failure(what) }
        return Failure(
            what, because: "\(error)", fix: "check the URL, --ca-bundle, the user and password, and the network")
    }
}

/// Pages between the thread that lists and the one that copies: at most so many wait.
private final class ItemQueue: @unchecked Sendable {
    private static let mostObjects = 200_000

    private let lock = Lock()
    private let changed: Condition
    private var pages: [ListPage] = []
    private var objects = 0
    private var isOver = false
    private var failure: S3Error?

    init() { changed = Condition(lock) }

    func put(_ page: ListPage) {
        lock.withLock {
            while objects > Self.mostObjects { _ = changed.wait(until: Instant.now.advanced(byMs: 1000)) }
            pages.append(page)
            objects += page.objects.count
            changed.broadcast()
        }
    }

    func end(_ error: S3Error?) {
        lock.withLock {
            isOver = true
            failure = error
            changed.broadcast()
        }
    }

    /// The next page; nil: there are no more.
    func take() -> ListPage? {
        lock.withLock {
            while pages.isEmpty && !isOver { _ = changed.wait(until: Instant.now.advanced(byMs: 1000)) }
            guard !pages.isEmpty else { return nil }
            let page = pages.removeFirst()
            objects -= page.objects.count
            changed.broadcast()
            return page
        }
    }

    var error: S3Error? { lock.withLock { failure } }
}
