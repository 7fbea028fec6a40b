import S3
import Threads

/// Lists every object below a prefix, once each, with as many LISTs at a time as pay: for counts, copies and snapshots.
///
/// Pages come in no order of their own; the objects in each are in key order. What is put or deleted while the listing
/// runs may or may not be in it, as with any listing of S3.
public final class FlatListing: @unchecked Sendable {
    /// How one page is asked for: `ObjectStore.list`, or a client's `listVersions`.
    public typealias PageSource =
        @Sendable (ListRequest, @escaping @Sendable (Result<ListPage, S3Error>) -> Void) -> Void

    /// Pages that wait for their reader; with more no LIST is sent.
    static let maxWaiting = 64

    private struct Arrival {
        var request: SplitPlanner.Request
        var result: Result<ListPage, S3Error>
    }

    private let source: PageSource
    private let prefix: ObjectKey
    private let lock = Lock()
    private let arrived: Condition
    // Under the lock.
    private var arrivals: [Arrival] = []
    private var isStopped = false
    // Of the thread that reads.
    private var planner: SplitPlanner

    /// - Parameter lanes: LISTs at a time, at most.
    public init(prefix: ObjectKey, lanes: Int = 16, source: @escaping PageSource) {
        self.source = source
        self.prefix = prefix
        arrived = Condition(lock)
        planner = SplitPlanner(lower: [], upper: nil, lanes: lanes)
    }

    public convenience init(_ store: any ObjectStore, prefix: ObjectKey, lanes: Int = 16) {
        self.init(prefix: prefix, lanes: lanes) { store.list($0, $1) }
    }

    /// Ends `forEachPage` early, with `.cancelled`; from any thread.
    public func stop() {
        lock.withLock {
            isStopped = true
            arrived.broadcast()
        }
    }

    /// Calls `body` with each page until all are there. Blocks: call it once, and not on a transfer thread.
    public func forEachPage<Failure: Error>(
        _ body: (ListPage) throws(Failure) -> Void
    ) throws(ListingFailure<Failure>) {
        while !planner.isDone {
            let waiting = lock.withLock { arrivals.count }
            if waiting < Self.maxWaiting { for request in planner.next(allowance: .max) { send(request) } }
            guard let arrival = next() else { throw .listing(.cancelled) }
            let page: ListPage
            do throws(S3Error) { page = try take(arrival) } catch { throw .listing(error) }
            if page.objects.isEmpty { continue }
            do throws(Failure) { try body(page) } catch { throw .body(error) }
        }
    }

    private func next() -> Arrival? {
        lock.withLock {
            // The store ends every request by its own deadline.
            while arrivals.isEmpty && !isStopped { _ = arrived.wait() }
            return isStopped ? nil : arrivals.removeFirst()
        }
    }

    private func send(_ request: SplitPlanner.Request) {
        let list = ListRequest(
            prefix: prefix, startAfter: Position.startAfter(request.lower).map { ObjectKey(prefix.bytes + $0) },
            continuationToken: request.token)
        source(list) { [self] result in
            lock.withLock {
                arrivals.append(Arrival(request: request, result: result))
                arrived.signal()
            }
        }
    }

    /// What of a page is its segment's own: each key is in one segment at any time, so none comes twice.
    private func take(_ arrival: Arrival) throws(S3Error) -> ListPage {
        let request = arrival.request
        let page = try arrival.result.get()
        let isWhole = page.nextToken == nil && request.token == nil && request.lower.isEmpty
        let checked: Page
        do throws(PageFault) {
            checked = try Page(page, prefix: prefix.bytes, isDelimited: false, isWhole: isWhole)
        } catch {
            throw .badAnswer("a listing that can't be used: \(error.reason)")
        }
        let end = planner.end(of: request.segment) ?? nil
        var kept = page
        let fault: SplitPlanner.Fault? = page.bytes.withUnsafeBytes { bytes in
            func key(_ i: Int) -> Bytes {
                bytes.slice(checked.items[i].key.lowerBound + prefix.bytes.count..<checked.items[i].key.upperBound)
            }
            var useful = checked.items.count
            while useful > 0, let end, compare(end, key(useful - 1)) <= 0 { useful -= 1 }
            var old = 0
            while old < useful, compare(request.lower, key(old)) > 0 { old += 1 }
            kept.objects = checked.items[old..<useful].map { page.objects[$0.object] }
            var reached = checked.upper(prefix.bytes.count)
            if page.nextToken != nil, checked.items.isEmpty { reached = request.lower }
            // Not beyond the segment: what lies there is its neighbour's to list.
            if let end, reached.map({ compare($0, end) > 0 }) ?? true { reached = end }
            let received = SplitPlanner.Received(
                count: checked.items.count, useful: useful - old, reached: reached, token: page.nextToken)
            do throws(SplitPlanner.Fault) {
                try planner.received(request.segment, received) { scale in
                    for i in stride(from: 0, to: checked.items.count, by: 8) { scale.learn(key(i)) }
                    if checked.items.count > 1 { scale.learn(key(checked.items.count - 1)) }
                }
                return nil
            } catch {
                return error
            }
        }
        switch fault {
        case .repeatedToken: throw .badAnswer("a listing that continues with the token it was asked for")
        case .noProgress: throw .badAnswer("a listing whose pages bring nothing new")
        case nil: return kept
        }
    }
}

/// Why a listing ended early.
public enum ListingFailure<Body: Error>: Error {
    case listing(S3Error)
    /// What the caller's own code threw.
    case body(Body)
}
