import Threads

/// Stores an object of any size from a stream of bytes: a small one by one PUT, a large one in parts, a few at a time.
///
/// Its calls block, up to the client's own deadlines: never call them on a transfer thread.
public final class ObjectUpload {
    /// Parts but the last have at least 5 MiB. https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
    static let minPartBytes = 8 << 20
    static let maxParts = 10_000
    static let partsAtATime = 4

    private let client: S3Client
    private let key: ObjectKey
    private let partBytes: Int
    private var buffer: [UInt8] = []
    private var uploadID: String?
    private var parts: [Promise<Result<UploadOperation.Answer, S3Error>>] = []
    private var etags: [String] = []

    /// - Parameter partBytes: the size of a part; an object can have ten thousand of them.
    public init(_ client: S3Client, _ key: ObjectKey, partBytes: Int = ObjectUpload.defaultPartBytes) {
        self.client = client
        self.key = key
        self.partBytes = partBytes
    }

    public static let defaultPartBytes = minPartBytes

    public func write(_ bytes: [UInt8]) throws(S3Error) {
        buffer += bytes
        while buffer.count > partBytes {
            let rest = Array(buffer[partBytes...])
            buffer.removeLast(buffer.count - partBytes)
            try sendPart()
            buffer = rest
        }
    }

    /// The object is there when this returns.
    public func finish() throws(S3Error) {
        guard let uploadID else {
            let promise = Promise<Result<String, S3Error>>()
            client.put(key, buffer) { promise.fulfil($0) }
            _ = try wait(promise)
            return
        }
        try sendPart()
        while etags.count < parts.count { try collect() }
        var document = "<CompleteMultipartUpload>"
        for (i, etag) in etags.enumerated() {
            // An ETag comes from outside; what could end the element is left to the server to refuse.
            let text = etag.filter { $0 != "<" && $0 != "&" && $0 != ">" }
            document += "<Part><PartNumber>\(i + 1)</PartNumber><ETag>\"\(text)\"</ETag></Part>"
        }
        document += "</CompleteMultipartUpload>"
        var request = OutgoingRequest(method: "POST", key: key, query: "uploadId=\(Self.encoded(uploadID))")
        request.body = OutgoingBody(Array(document.utf8), type: "application/xml")
        _ = try exchange(.upload, request)
        self.uploadID = nil
    }

    /// Gives the parts up that were sent; errors are of no use any more.
    public func abort() {
        guard let uploadID else { return }
        self.uploadID = nil
        for part in parts.dropFirst(etags.count) { _ = part.wait(until: deadline) }
        let request = OutgoingRequest(method: "DELETE", key: key, query: "uploadId=\(Self.encoded(uploadID))")
        _ = try? exchange(.delete, request)
    }

    private func sendPart() throws(S3Error) {
        if uploadID == nil { try begin() }
        guard let uploadID else { return }
        guard parts.count < Self.maxParts else {
            throw .badAnswer("the object would have more than \(Self.maxParts) parts of \(partBytes) bytes")
        }
        if parts.count - etags.count >= Self.partsAtATime { try collect() }
        var request = OutgoingRequest(
            method: "PUT", key: key, query: "partNumber=\(parts.count + 1)&uploadId=\(Self.encoded(uploadID))")
        request.body = OutgoingBody(buffer)
        buffer.removeAll()
        let promise = Promise<Result<UploadOperation.Answer, S3Error>>()
        client.perform(.put, request) { promise.fulfil($0) }
        parts.append(promise)
    }

    private func begin() throws(S3Error) {
        var request = OutgoingRequest(method: "POST", key: key, query: "uploads=")
        request.body = OutgoingBody([])
        let answer = try exchange(.upload, request)
        guard let id = XMLFields.parse(answer.body)?["UploadId"], !id.isEmpty else {
            throw .badAnswer("an upload in parts that began without an UploadId")
        }
        uploadID = id
    }

    private func collect() throws(S3Error) { etags.append(try wait(parts[etags.count]).etag) }

    private func exchange(
        _ name: OperationName, _ request: OutgoingRequest
    ) throws(S3Error) -> UploadOperation.Answer {
        let promise = Promise<Result<UploadOperation.Answer, S3Error>>()
        client.perform(name, request) { promise.fulfil($0) }
        return try wait(promise)
    }

    private func wait<Value: Sendable>(_ promise: Promise<Result<Value, S3Error>>) throws(S3Error) -> Value {
        try (promise.wait(until: deadline) ?? .failure(.timedOut)).get()
    }

    /// The client's own deadline comes first; this one only keeps a bug from blocking for ever.
    private var deadline: Instant { .now.advanced(byMs: client.configuration.requestTimeoutMs * 20) }

    private static func encoded(_ text: String) -> String { PercentEncoding.encode(text.utf8, keepsSlash: false) }
}
