import Curl
import Threads

/// A ranged GET of one version, which goes on from where it stopped until the range is whole.
final class GetOperation: Operation, @unchecked Sendable {
    private let request: GetRequest
    private let receiver: any GetReceiver
    /// The next byte for the receiver.
    private var offset: UInt64
    /// The version that was asked for, or that the first answer had.
    private var etag: String?
    private var metadata: ObjectMetadata?

    // Of the accepted attempt.
    private var position: UInt64 = 0
    private var answersRange = false

    /// A server that ignores Range sends everything; so much is skipped before the first byte that is wanted.
    private static let maxSkippedBytes: UInt64 = 256 << 20

    init(_ request: GetRequest, _ receiver: any GetReceiver, _ client: S3Client, _ lane: Lane) {
        self.request = request
        self.receiver = receiver
        offset = request.range.lowerBound
        etag = request.etag.flatMap { $0.isEmpty ? nil : $0 }
        super.init(.get, client, lane, request.priority)
    }

    override var canHedge: Bool { offset == request.range.lowerBound }

    override var timeoutMs: Int {
        let configuration = client.configuration
        let bytes = Int(clamping: request.range.count)
        return configuration.requestTimeoutMs + bytes / max(1, configuration.minBytesPerSecond) * 1000
    }

    override func makeRequest() -> OutgoingRequest {
        var outgoing = OutgoingRequest(key: request.key)
        outgoing.headers.append(("Range", "bytes=\(offset)-\(request.range.upperBound - 1)"))
        // One that could end the header is only compared; a server that lists such ETags is up to no good.
        if let etag, etag.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x22 && $0 != 0x7F }) {
            outgoing.headers.append(("If-Match", "\"\(etag)\""))
        }
        if let version = request.versionID {
            outgoing.query = "versionId=" + PercentEncoding.encode(version.utf8, keepsSlash: false)
        }
        if offset > request.range.lowerBound { client.metrics.resumed.add() }
        return outgoing
    }

    override func check(_ attempt: Attempt) -> AttemptFailure? {
        let head = attempt.head
        if let etag {
            guard let answered = head.etag else { return .badAnswer("an answer without an ETag") }
            if answered != etag { return .changed }
        }
        let total: UInt64?
        // rclone says 200 and yet answers the range, with its Content-Range.
        answersRange = head.status == 206 || head.contentRange != nil || head.hasBadRange
        switch head.status {
        case 200 where answersRange, 206:
            guard let range = head.contentRange else {
                return .badAnswer("an answer with \(head.hasBadRange ? "a malformed" : "no") Content-Range")
            }
            // Fewer bytes than asked for are all right: the rest is asked for again.
            guard range.range.lowerBound == offset, range.range.upperBound <= request.range.upperBound else {
                return .badAnswer("bytes \(range.range) instead of \(offset)..<\(request.range.upperBound)")
            }
            if let length = head.contentLength, length != UInt64(range.range.count) {
                return .badAnswer("\(length) bytes for a Content-Range of \(range.range.count)")
            }
            position = offset
            total = range.total
        case 200:
            total = head.contentLength
            if offset > Self.maxSkippedBytes { return .badAnswer("the whole object, as the server ignores Range") }
            position = 0
        default: return .badAnswer("status \(head.status) for a GET")
        }
        if let total {
            if let size = request.size, total != size { return .changed }
            if total < request.range.upperBound {
                return .badAnswer("the object has \(total) bytes, fewer than the \(request.range.upperBound) asked for")
            }
        }
        if metadata == nil {
            etag = etag ?? head.etag
            metadata = ObjectMetadata(head, size: total ?? request.size ?? 0)
        }
        return nil
    }

    override func received(_ bytes: UnsafeRawBufferPointer, _ attempt: Attempt) -> Bool {
        client.metrics.received.add(bytes.count)
        var bytes = bytes
        if position < offset {
            let skipped = Int(min(UInt64(bytes.count), offset - position))
            position += UInt64(skipped)
            bytes = UnsafeRawBufferPointer(rebasing: bytes[skipped...])
        }
        let wanted = Int(min(UInt64(bytes.count), request.range.upperBound - offset))
        if wanted > 0 {
            let piece = UnsafeRawBufferPointer(rebasing: bytes[..<wanted])
            let at = offset
            offset += UInt64(wanted)
            lastActivity = attempt.lastByte
            position += UInt64(wanted)
            receiver.received(piece, at: at)
        }
        // The rest of a whole object is not wanted, so the transfer is ended; the rest of a range is an error.
        if bytes.count > wanted {
            if answersRange { attempt.failure = .badAnswer("more bytes than the Content-Range says") }
            return false
        }
        return true
    }

    override func concluded(_ attempt: Attempt, _ failure: AttemptFailure?) -> AttemptFailure? {
        if case .badAnswer = failure { return failure }
        if offset == request.range.upperBound { return nil }
        if let failure { return failure }
        return .network("the answer ended after \(attempt.received) bytes", isFinal: false)
    }

    override func ended(_ error: S3Error?) {
        if let error {
            receiver.finished(.failure(error))
        } else if let metadata {
            receiver.finished(.success(metadata))
        } else {
            receiver.finished(.failure(.badAnswer("no head")))
        }
    }
}

extension ObjectMetadata {
    init(_ head: ResponseHead, size: UInt64) {
        self.init(
            size: size, etag: head.etag ?? "", modified: head.modified ?? 0, versionID: head.versionID,
            storageClass: head.storageClass, contentType: head.contentType, isReadable: head.isReadable)
        checksums = head.checksums
        encryption = head.encryption
    }
}
