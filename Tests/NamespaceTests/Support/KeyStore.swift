import Glibc
import S3
import Threads

/// Lists a sorted set of keys as S3 does, in virtual time: nothing is answered before a test calls `step`. For sets too
/// large for the stand-in with bodies; it also tells how long requests that follow from each other took.
final class KeyStore: ObjectStore, @unchecked Sendable {
    struct Object: Equatable {
        var size: UInt64 = 1
        var etag: String
        var modified: Int64 = 1_700_000_000
        var isReadable = true
    }

    var latencyMs = 60
    private let lock = Lock()
    // Under `lock`:
    private var keys: [[UInt8]] = []
    private var objects: [[UInt8]: Object] = [:]
    private var queue: [(due: Int, run: @Sendable () -> Void)] = []
    private var now = 0
    private var logBegan = 0
    private(set) var lists: [ListRequest] = []
    private(set) var heads: [ObjectKey] = []
    /// Answers in the place of the keys': by the number of the LIST, from 1.
    var answer: (@Sendable (Int, ListRequest) -> Result<ListPage, S3Error>?)?
    var headAnswer: (@Sendable (ObjectKey) -> Result<ObjectMetadata, S3Error>?)?
    private(set) var peakActive = 0

    init(_ keys: [String] = []) {
        for key in keys { put(key) }
    }

    /// Milliseconds of virtual time, in all and since the log was cleared.
    var nowMs: Int { lock.withLock { now } }
    var elapsedMs: Int { lock.withLock { now - logBegan } }

    func put(_ key: String, size: UInt64 = 1, version: Int = 1, isReadable: Bool = true) {
        put(Array(key.utf8), size: size, version: version, isReadable: isReadable)
    }

    func put(_ key: [UInt8], size: UInt64 = 1, version: Int = 1, isReadable: Bool = true) {
        lock.withLock {
            if objects[key] == nil {
                if let last = keys.last, !last.lexicographicallyPrecedes(key) {
                    keys.insert(key, at: index(from: key))
                } else {
                    keys.append(key)
                }
            }
            objects[key] = Object(size: size, etag: "v\(version)-\(size)", isReadable: isReadable)
        }
    }

    func delete(_ key: [UInt8]) {
        lock.withLock { if objects.removeValue(forKey: key) != nil { keys.remove(at: index(from: key)) } }
    }
    func delete(_ key: String) { delete(Array(key.utf8)) }

    var all: [(key: [UInt8], object: Object)] { lock.withLock { keys.map { ($0, objects[$0]!) } } }

    func clearLog() {
        lock.withLock {
            lists = []
            heads = []
            logBegan = now
            peakActive = queue.count
        }
    }

    /// Answers what is due next; false: nothing is asked.
    @discardableResult
    func step() -> Bool {
        let next: (@Sendable () -> Void)? = lock.withLock {
            guard let first = queue.indices.min(by: { queue[$0].due < queue[$1].due }) else { return nil }
            let item = queue.remove(at: first)
            now = max(now, item.due)
            return item.run
        }
        next?()
        return next != nil
    }

    func run() { while step() {} }

    func get(_ request: GetRequest, _ receiver: any GetReceiver) -> any Transfer { fatalError("no bodies here") }

    func head(_ key: ObjectKey, _ completion: @escaping @Sendable (Result<ObjectMetadata, S3Error>) -> Void) {
        lock.withLock {
            heads.append(key)
            later { [self] in
                let result = lock.withLock { () -> Result<ObjectMetadata, S3Error> in
                    if let answer = headAnswer?(key) { return answer }
                    guard let object = objects[key.bytes] else { return .failure(.noSuchKey) }
                    return .success(
                        ObjectMetadata(
                            size: object.size, etag: object.etag, modified: object.modified,
                            storageClass: object.isReadable ? nil : "GLACIER", isReadable: object.isReadable))
                }
                completion(result)
            }
        }
    }

    func list(_ request: ListRequest, _ completion: @escaping @Sendable (Result<ListPage, S3Error>) -> Void) {
        lock.withLock {
            lists.append(request)
            let number = lists.count
            later { [self] in completion(lock.withLock { answer?(number, request) ?? .success(page(request)) }) }
        }
    }

    private func later(_ run: @escaping @Sendable () -> Void) {
        queue.append((now + latencyMs, run))
        peakActive = max(peakActive, queue.count)
    }

    private func page(_ request: ListRequest) -> ListPage {
        let prefix = request.prefix.bytes
        var at = index(from: prefix)
        if let token = request.continuationToken {
            // Hexadecimal, of the first key or prefix that wasn't told.
            let digits = Array(token.utf8)
            at = max(
                at,
                index(
                    from: stride(from: 0, to: digits.count, by: 2).map {
                        UInt8(String(decoding: digits[$0..<$0 + 2], as: UTF8.self), radix: 16)!
                    }))
        } else if let after = request.startAfter?.bytes {
            at = max(at, index(from: after + [0]))
        }
        var page = ListPage()
        while at < keys.count, keys[at].starts(with: prefix) {
            let key = keys[at]
            if page.objects.count + page.prefixes.count == min(request.maxKeys, 1000) {
                page.nextToken = key.map { String(UInt16($0) + 256, radix: 16).dropFirst() }.joined()
                break
            }
            let start = page.bytes.count
            if let delimiter = request.delimiter, let end = key[prefix.count...].firstIndex(of: delimiter) {
                page.bytes += key[...end]
                page.prefixes.append(start..<page.bytes.count)
                at = index(from: Array(key[..<end]) + [delimiter + 1])
                continue
            }
            page.bytes += key
            let middle = page.bytes.count
            let object = objects[key]!
            page.bytes += Array(object.etag.utf8)
            page.objects.append(
                .init(
                    key: start..<middle, etag: middle..<page.bytes.count, size: object.size,
                    modified: object.modified, isReadable: object.isReadable))
            at += 1
        }
        return page
    }

    private func index(from key: [UInt8]) -> Int {
        var low = 0
        var high = keys.count
        while low < high {
            let middle = (low + high) / 2
            if compare(keys[middle], key) < 0 { low = middle + 1 } else { high = middle }
        }
        return low
    }
}

/// As the namespace orders keys; twice, so that a mistake there shows here.
private func compare(_ a: [UInt8], _ b: [UInt8]) -> Int {
    let common = min(a.count, b.count)
    let order = a.withUnsafeBytes { a in
        b.withUnsafeBytes { b in common == 0 ? 0 : memcmp(a.baseAddress!, b.baseAddress!, common) }
    }
    return order == 0 ? a.count - b.count : Int(order)
}
