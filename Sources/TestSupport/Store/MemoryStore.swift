import Glibc
import S3
import Threads

/// An object store in memory that behaves, and misbehaves, as S3 behind the real client does.
///
/// Completions come from threads of its own, or in manual mode only while the test calls `run` or `step`: no test has
/// to sleep. Reads are atomic: a GET delivers the version that it began with, also where that is replaced meanwhile,
/// unless a fault makes it start again (then the version is checked again, as the client's If-Match does).
public final class MemoryStore: ObjectStore, @unchecked Sendable {
    public enum Delivery: Sendable {
        case threads(Int)
        /// Delays pass in virtual time: `run` delivers all in the order in which they are due.
        case manual
    }

    /// How long each request takes before its answer begins, unless a fault says more.
    public var latencyMs: Int {
        get { lock.withLock { latency } }
        set { lock.withLock { latency = newValue } }
    }
    /// Bytes given to a receiver at a time.
    public var chunkBytes: Int {
        get { lock.withLock { chunk } }
        set { lock.withLock { chunk = newValue } }
    }

    // Everything below is reached under `lock`.
    private let lock = Lock()
    private let wake: Condition
    private var table = ObjectTable()
    private var isBucketThere = true
    private var latency = 0
    private var chunk = 256 * 1024
    private var schedule = Schedule()
    private var virtualNow: UInt64 = 0
    private var faults: [MemoryFault] = []
    private var entries: [RequestLogEntry] = []
    private var counters = StoreCounts()
    private var isStopped = false
    private var threads: [Thread] = []
    private let isManual: Bool

    public init(_ delivery: Delivery = .threads(1)) {
        wake = Condition(lock)
        switch delivery {
        case .manual: isManual = true
        case .threads(let count):
            isManual = false
            threads = (0..<count).map { index in Thread("memory-store-\(index)") { [self] in deliver() } }
        }
    }

    /// Ends the delivery threads (which keep the store alive until then) after what they are delivering; undelivered requests are never answered.
    /// Not to be called from a completion.
    public func stop() {
        lock.withLock {
            isStopped = true
            wake.broadcast()
        }
        for thread in threads { thread.join() }
    }

    // MARK: What is stored

    /// Puts or replaces an object; answers its ETag.
    @discardableResult
    public func put(_ key: ObjectKey, _ object: StoredObject) -> String {
        lock.withLock { table[key] = object }
        return object.etag
    }

    @discardableResult
    public func put(_ key: String, _ body: ObjectBody) -> String { put(ObjectKey(key), StoredObject(body)) }

    @discardableResult
    public func put(_ key: String, _ text: String) -> String { put(key, .text(text)) }

    @discardableResult
    public func put(_ key: String, _ bytes: [UInt8]) -> String { put(key, .bytes(bytes)) }

    public func delete(_ key: ObjectKey) { lock.withLock { table[key] = nil } }
    public func delete(_ key: String) { delete(ObjectKey(key)) }

    public func object(_ key: ObjectKey) -> StoredObject? { lock.withLock { table[key] } }
    public func object(_ key: String) -> StoredObject? { object(ObjectKey(key)) }

    /// All keys in order.
    public var keys: [ObjectKey] { lock.withLock { table.keys } }

    /// From now on every request gets NoSuchBucket, or again what is stored.
    public func setBucketExists(_ exists: Bool) { lock.withLock { isBucketThere = exists } }

    // MARK: Faults and the log

    /// Adds a fault; of those that match a request the oldest is used.
    public func inject(_ fault: MemoryFault) { lock.withLock { faults.append(fault) } }
    public func clearFaults() { lock.withLock { faults = [] } }

    /// Every request so far, in the order in which they were made.
    public var log: [RequestLogEntry] { lock.withLock { entries } }
    public var counts: StoreCounts { lock.withLock { counters } }
    /// Forgets the log and sets all counters but `active` to zero.
    public func clearLog() {
        lock.withLock {
            entries = []
            counters = StoreCounts(active: counters.active, peakActive: counters.active)
        }
    }

    // MARK: Manual mode

    /// Steps that wait to be delivered.
    public var pending: Int { lock.withLock { schedule.count } }

    /// Delivers the step that is due next (an answer, or one chunk of a GET); false: nothing is waiting.
    @discardableResult
    public func step() -> Bool {
        precondition(isManual, "step() is for manual mode")
        let next: (@Sendable () -> Void)? = lock.withLock {
            guard let next = schedule.removeFirst() else { return nil }
            virtualNow = max(virtualNow, next.due)
            return next.run
        }
        next?()
        return next != nil
    }

    /// Delivers until nothing waits, also what is asked for meanwhile. Answers the number of steps.
    @discardableResult
    public func run() -> Int {
        var steps = 0
        while step() { steps += 1 }
        return steps
    }

    // MARK: ObjectStore

    @discardableResult
    public func get(_ request: GetRequest, _ receiver: any GetReceiver) -> any Transfer {
        precondition(!request.range.isEmpty, "an empty range was asked for")
        let transfer = MemoryTransfer(request, receiver, self)
        let effect = begin(
            RequestLogEntry(
                operation: .get, key: request.key, range: request.range, etag: request.etag, priority: request.priority)
        )
        transfer.effect = effect
        later(afterMs: effect.delayMs) { transfer.begin() }
        return transfer
    }

    public func head(_ key: ObjectKey, _ completion: @escaping @Sendable (Result<ObjectMetadata, S3Error>) -> Void) {
        let effect = begin(RequestLogEntry(operation: .head, key: key))
        if effect.isSilent { return }
        later(afterMs: effect.delayMs) { [self] in
            let result = effect.error.map { .failure($0) } ?? lookUp(key).map(\.metadata)
            end()
            completion(result)
        }
    }

    public func list(_ request: ListRequest, _ completion: @escaping @Sendable (Result<ListPage, S3Error>) -> Void) {
        let effect = begin(
            RequestLogEntry(
                operation: .list, key: request.prefix, delimiter: request.delimiter, startAfter: request.startAfter,
                continuationToken: request.continuationToken))
        if effect.isSilent { return }
        later(afterMs: effect.delayMs) { [self] in
            let result = effect.error.map { .failure($0) } ?? page(request)
            end()
            completion(result)
        }
    }

    private func page(_ request: ListRequest) -> Result<ListPage, S3Error> {
        var position = request.startAfter.map { ObjectTable.Position.after($0) } ?? .start
        if let token = request.continuationToken {
            guard let parsed = ObjectTable.Position(token: token) else {
                return .failure(.status(400, code: "InvalidArgument", message: "the continuation token is incorrect"))
            }
            position = parsed
        }
        return lock.withLock {
            guard isBucketThere else { return .failure(.noSuchBucket) }
            let (entries, next) = table.list(
                prefix: request.prefix, delimiter: request.delimiter.map { [$0] }, from: position,
                maxKeys: min(1000, request.maxKeys))
            return .success(ListPage(entries, nextToken: next?.token))
        }
    }

    // MARK: Shared with the transfers

    /// The object, or the error that GET and HEAD give for it.
    func lookUp(_ key: ObjectKey) -> Result<StoredObject, S3Error> {
        lock.withLock {
            guard isBucketThere else { return .failure(.noSuchBucket) }
            guard let object = table[key] else { return .failure(.noSuchKey) }
            return object.isDenied
                ? .failure(.denied(code: "AccessDenied", message: "Access Denied")) : .success(object)
        }
    }

    /// Runs `body` on a delivery thread, or in a later step.
    func later(afterMs ms: Int, _ body: @escaping @Sendable () -> Void) {
        lock.withLock {
            let now = isManual ? virtualNow : Instant.now.nanoseconds
            schedule.add(due: now + UInt64(ms) * 1_000_000, body)
            wake.signal()
        }
    }

    func count(_ change: (inout StoreCounts) -> Void) { lock.withLock { change(&counters) } }

    /// A request was answered.
    func end() { count { $0.active -= 1 } }

    private func begin(_ entry: RequestLogEntry) -> MemoryFault.Effects {
        lock.withLock {
            entries.append(entry)
            counters.add(entry.operation)
            var effects = MemoryFault.Effects(delayMs: latency)
            if let index = faults.firstIndex(where: { $0.matches(entry) }) {
                if faults[index].skip > 0 {
                    faults[index].skip -= 1
                } else {
                    effects.add(faults[index].effect)
                    faults[index].count -= 1
                    if faults[index].count == 0 { faults.remove(at: index) }
                }
            }
            return effects
        }
    }

    private func deliver() {
        while true {
            let next: (@Sendable () -> Void)? = lock.withLock {
                while !isStopped {
                    if let due = schedule.firstDue, due <= Instant.now.nanoseconds {
                        return schedule.removeFirst()?.run
                    }
                    _ = wake.wait(until: schedule.firstDue.map { Instant(nanoseconds: $0) })
                }
                return nil
            }
            guard let next else { return }
            next()
        }
    }
}

extension ListPage {
    /// Packs the entries of a listing.
    init(_ entries: [ObjectTable.Entry], nextToken: String?) {
        self.init(nextToken: nextToken)
        for entry in entries {
            switch entry {
            case .prefix(let prefix): prefixes.append(pack(prefix.bytes))
            case .object(let key, let object):
                objects.append(
                    Object(
                        key: pack(key.bytes), etag: pack(Array(object.etag.utf8)), size: object.body.size,
                        modified: object.modified, isReadable: object.isReadable))
            }
        }
    }

    private mutating func pack(_ added: [UInt8]) -> Range<Int> {
        let start = bytes.count
        bytes += added
        return start..<bytes.count
    }
}
