import Glibc
import S3

// What S3 does for each operation. Error texts are S3's.
extension S3Server {
    private static let noBucket = HTTPResponse.error(404, "NoSuchBucket", "The specified bucket does not exist")

    func read(_ request: HTTPRequest, _ bucket: String, _ key: ObjectKey, ignoresRange: Bool) -> HTTPResponse {
        guard let table = state.withLock({ $0.buckets[bucket] }) else { return Self.noBucket }
        guard let object = table[key] else {
            return .error(
                404, "NoSuchKey", "The specified key does not exist.",
                extra: "<Key>\(xmlEscaped(key.description))</Key>")
        }
        if object.isDenied { return .error(403, "AccessDenied", "Access Denied") }
        let tag = "\"\(object.etag)\""
        if let wanted = request.header("if-match"), wanted != "*", wanted != tag, wanted != object.etag {
            return .error(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
        }
        var response = HTTPResponse(status: 200)
        response.set("ETag", tag)
        response.set("Last-Modified", Timestamp.http(object.modified))
        if let unwanted = request.header("if-none-match"), unwanted == "*" || unwanted == tag {
            response.status = 304
            return response
        }
        if request.method == "GET", !object.isReadable {
            return .error(
                403, "InvalidObjectState", "The operation is not valid for the object's storage class",
                extra: "<StorageClass>\(object.storageClass ?? "")</StorageClass>")
        }
        response.set("Accept-Ranges", "bytes")
        response.set("Content-Type", object.contentType ?? "binary/octet-stream")
        if let storageClass = object.storageClass { response.set("x-amz-storage-class", storageClass) }
        if let versionID = object.versionID { response.set("x-amz-version-id", versionID) }
        let size = object.body.size
        response.body = .object(object.body, 0..<size)
        if !ignoresRange, let range = byteRange(request.header("range"), size: size) {
            if range.isEmpty {
                return .error(416, "InvalidRange", "The requested range is not satisfiable")
            }
            response.status = 206
            response.set("Content-Range", "bytes \(range.lowerBound)-\(range.upperBound - 1)/\(size)")
            response.body = .object(object.body, range)
        }
        return response
    }

    func write(_ request: HTTPRequest, _ bucket: String, _ key: ObjectKey) -> HTTPResponse {
        var body = request.body
        if request.header("x-amz-content-sha256")?.hasPrefix("STREAMING-") == true {
            guard let decoded = awsChunks(body) else {
                return .error(400, "IncompleteBody", "The chunks are malformed")
            }
            body = decoded
        }
        let object = StoredObject(
            .bytes(body), storageClass: request.header("x-amz-storage-class"),
            contentType: request.header("content-type"))
        return state.withLock { state in
            guard let old = state.buckets[bucket] else { return Self.noBucket }
            let oldTag = old[key].map { "\"\($0.etag)\"" }
            let isRefused =
                request.header("if-none-match") == "*" && oldTag != nil
                || request.header("if-match").map { $0 != oldTag } == true
            if isRefused {
                return .error(
                    412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
            }
            state.buckets[bucket]![key] = object
            return HTTPResponse(status: 200, headers: [("ETag", "\"\(object.etag)\"")])
        }
    }

    func remove(_ bucket: String, _ key: ObjectKey) -> HTTPResponse {
        state.withLock { state in
            guard state.buckets[bucket] != nil else { return Self.noBucket }
            state.buckets[bucket]![key] = nil
            return HTTPResponse(status: 204)
        }
    }

    func bucketOperation(_ request: HTTPRequest, _ bucket: String, _ options: Options) -> HTTPResponse {
        if bucket.isEmpty {
            let names = state.withLock { $0.buckets.keys.sorted() }
            let items = names.map { "<Bucket><Name>\(xmlEscaped($0))</Name></Bucket>" }.joined()
            return .xml("<ListAllMyBucketsResult><Buckets>\(items)</Buckets></ListAllMyBucketsResult>")
        }
        return state.withLock { state in
            switch (request.method, state.buckets[bucket]) {
            case ("PUT", nil):
                state.buckets[bucket] = ObjectTable()
                return HTTPResponse(status: 200, headers: [("Location", "/\(bucket)")])
            case ("PUT", _):
                return .error(409, "BucketAlreadyOwnedByYou", "Your previous request to create the bucket succeeded")
            case (_, nil): return Self.noBucket
            case ("HEAD", _): return HTTPResponse(status: 200, headers: [("x-amz-bucket-region", options.region)])
            case ("DELETE", let table?):
                guard table.count == 0 else {
                    return .error(409, "BucketNotEmpty", "The bucket you tried to delete is not empty")
                }
                state.buckets[bucket] = nil
                return HTTPResponse(status: 204)
            case ("GET", _): return .xml("<LocationConstraint>\(options.region)</LocationConstraint>")
            default:
                return .error(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")
            }
        }
    }

    /// The body inside "aws-chunked": SIZE[;chunk-signature=…] CRLF bytes CRLF, ended by a chunk of 0. Nil: malformed.
    private func awsChunks(_ body: [UInt8]) -> [UInt8]? {
        var result: [UInt8] = []
        var rest = body[...]
        while let end = rest.firstIndex(of: 13) {
            let header = rest[..<end].prefix { $0 != UInt8(ascii: ";") }
            guard let size = Int(String(decoding: header, as: UTF8.self), radix: 16), size >= 0 else { return nil }
            if size == 0 { return result }
            let start = end + 2
            guard rest.endIndex >= start + size + 2 else { return nil }
            result += rest[start..<start + size]
            rest = rest[(start + size + 2)...]
        }
        return nil
    }
}
