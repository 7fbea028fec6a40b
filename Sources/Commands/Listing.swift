import S3
import Threads

/// Pages of a listing, one after another, for commands: waits for each.
struct Listing {
    var store: any ObjectStore
    /// For messages.
    var source: SourceURL

    /// Asks for one page; what it answers waits for it.
    func start(_ request: ListRequest) -> () throws -> ListPage {
        let promise = Promise<Result<ListPage, S3Error>>()
        store.list(request) { promise.fulfil($0) }
        return {
            // The store has its own deadline; this one only keeps a bug from hanging a terminal.
            let result = promise.wait(until: Instant.now.advanced(byMs: 300_000)) ?? .failure(.timedOut)
            do throws(S3Error) {
                return try result.get()
            } catch {
                throw Explanation(error, source: source).failure("cannot list \(source)")
            }
        }
    }

    /// Calls `body` for each page until the last, or until it answers false.
    func forEachPage(_ request: ListRequest, _ body: (ListPage) throws -> Bool) throws {
        var request = request
        while true {
            let page = try start(request)()
            guard try body(page), let token = page.nextToken else { return }
            request.continuationToken = token
        }
    }
}

extension ListPage {
    func key(of object: Object) -> ObjectKey { ObjectKey(Array(bytes[object.key])) }
    func etag(of object: Object) -> String { String(decoding: bytes[object.etag], as: UTF8.self) }
}
