import S3

/// What a `MemoryStore` does wrong, to which requests and how often.
public struct MemoryFault: Sendable {
    public enum Effect: Sendable {
        case delay(ms: Int)
        case fail(S3Error)
        /// GET: after so many bytes the transfer breaks for good.
        case failAfter(bytes: UInt64, S3Error)
        /// GET: after so many bytes the connection breaks and the rest is asked for, as the client does it.
        case cut(afterBytes: UInt64)
        /// GET: the object is replaced after so many bytes and the connection breaks there: `.changed`.
        case replace(afterBytes: UInt64, by: StoredObject)
        /// GET: time between two chunks.
        case drip(chunkDelayMs: Int)
        /// No answer, ever; a GET still ends when it is cancelled.
        case silence
    }

    public var operation: StoreOperation?
    public var key: ObjectKey?
    /// Requests that match and are let through first.
    public var skip: Int
    /// Requests that are hit after that; -1: all.
    public var count: Int
    public var effect: Effect

    /// `operation` and `key` (of a listing: its prefix): nil hits any.
    public init(
        _ effect: Effect, on operation: StoreOperation? = nil, key: String? = nil, skip: Int = 0, count: Int = 1
    ) {
        self.operation = operation
        self.key = key.map { ObjectKey($0) }
        self.skip = skip
        self.count = count
        self.effect = effect
    }

    func matches(_ entry: RequestLogEntry) -> Bool {
        (operation == nil || operation == entry.operation) && (key == nil || key == entry.key)
    }

    /// What happens to one request.
    struct Effects: Sendable {
        var delayMs: Int
        var chunkDelayMs = 0
        var error: S3Error?
        var failureAfter: (bytes: UInt64, error: S3Error)?
        var cutAfterBytes: UInt64?
        var replacement: (afterBytes: UInt64, object: StoredObject)?
        var isSilent = false

        init(delayMs: Int) { self.delayMs = delayMs }

        mutating func add(_ effect: Effect) {
            switch effect {
            case .delay(let ms): delayMs += ms
            case .fail(let error): self.error = error
            case .failAfter(let bytes, let error): failureAfter = (bytes, error)
            case .cut(let bytes): cutAfterBytes = bytes
            case .replace(let bytes, let object):
                replacement = (bytes, object)
                cutAfterBytes = bytes
            case .drip(let ms): chunkDelayMs = ms
            case .silence: isSilent = true
            }
        }
    }
}

public enum StoreOperation: Sendable, Equatable { case get, head, list }

/// One request as it was made.
public struct RequestLogEntry: Sendable, Equatable {
    public var operation: StoreOperation
    /// Of a listing: its prefix.
    public var key: ObjectKey
    public var range: Range<UInt64>?
    public var etag: String?
    public var priority: Priority?
    public var delimiter: UInt8?
    public var startAfter: ObjectKey?
    public var continuationToken: String?
}

public struct StoreCounts: Sendable, Equatable {
    public var gets = 0
    public var heads = 0
    public var lists = 0
    /// Bytes given to receivers.
    public var bytes: UInt64 = 0
    /// GETs that were broken and asked for the rest.
    public var retries = 0
    public var cancelled = 0
    /// Calls of `raise`.
    public var raised = 0
    /// Requests without an answer yet, now and at most.
    public var active = 0
    public var peakActive = 0

    mutating func add(_ operation: StoreOperation) {
        switch operation {
        case .get: gets += 1
        case .head: heads += 1
        case .list: lists += 1
        }
        active += 1
        peakActive = max(peakActive, active)
    }
}
