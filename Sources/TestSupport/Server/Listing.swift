import S3

// ListObjects and ListObjectsV2.
extension S3Server {
    func list(_ request: HTTPRequest, _ bucket: String, _ options: Options) -> HTTPResponse {
        guard let table = state.withLock({ $0.buckets[bucket] }) else {
            return .error(404, "NoSuchBucket", "The specified bucket does not exist")
        }
        let isSecond = request.text("list-type") == "2"
        let prefix = request.parameter("prefix") ?? []
        let delimiter = request.parameter("delimiter").flatMap { $0.isEmpty ? nil : $0 }
        guard let maxKeys = request.text("max-keys").map({ Int($0) }) ?? 1000, maxKeys >= 0 else {
            return .error(400, "InvalidArgument", "max-keys must be a number")
        }
        var position = ObjectTable.Position.start
        if isSecond {
            if let token = request.text("continuation-token") {
                guard let parsed = ObjectTable.Position(token: token) else {
                    return .error(400, "InvalidArgument", "The continuation token provided is incorrect")
                }
                position = parsed
            } else if let after = request.parameter("start-after"), !after.isEmpty {
                position = .after(ObjectKey(after))
            }
        } else if let marker = request.parameter("marker"), !marker.isEmpty {
            let isPrefix = delimiter.map { marker.suffix($0.count).elementsEqual($0) } ?? false
            position = isPrefix ? .afterPrefix(ObjectKey(marker)) : .after(ObjectKey(marker))
        }
        let page = table.list(
            prefix: ObjectKey(prefix), delimiter: delimiter, from: position,
            maxKeys: min(maxKeys, options.pageLimit, 1000))

        let isEncoded = request.text("encoding-type") == "url"
        var xml: [UInt8] = Array(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
                .utf8)
        func element(_ name: String, _ value: [UInt8]) {
            xml += Array("<\(name)>".utf8) + value + Array("</\(name)>".utf8)
        }
        func element(_ name: String, _ value: String) { element(name, xmlEscaped(Array(value.utf8))) }
        func key(_ name: String, _ bytes: [UInt8]) {
            element(name, isEncoded ? Array(percentEncoded(bytes, keepsSlash: true).utf8) : xmlEscaped(bytes))
        }
        element("Name", bucket)
        key("Prefix", prefix)
        if let delimiter { key("Delimiter", delimiter) }
        element("MaxKeys", String(maxKeys))
        if isEncoded { element("EncodingType", "url") }
        element("IsTruncated", page.next == nil ? "false" : "true")
        if isSecond {
            element("KeyCount", String(page.entries.count))
            if let token = request.text("continuation-token") { element("ContinuationToken", token) }
            if let after = request.parameter("start-after") { key("StartAfter", after) }
            if let token = page.next?.token { element("NextContinuationToken", token) }
        } else {
            key("Marker", request.parameter("marker") ?? [])
            switch page.next {
            case .after(let last) where delimiter != nil, .afterPrefix(let last): key("NextMarker", last.bytes)
            default: break
            }
        }
        for entry in page.entries {
            switch entry {
            case .prefix(let common):
                xml += Array("<CommonPrefixes>".utf8)
                key("Prefix", common.bytes)
                xml += Array("</CommonPrefixes>".utf8)
            case .object(let name, let object):
                xml += Array("<Contents>".utf8)
                key("Key", name.bytes)
                element("LastModified", Timestamp.iso(object.modified))
                element("ETag", "\"\(object.etag)\"")
                element("Size", String(object.body.size))
                element("StorageClass", object.storageClass ?? "STANDARD")
                xml += Array("</Contents>".utf8)
            }
        }
        xml += Array("</ListBucketResult>".utf8)
        return HTTPResponse(status: 200, headers: [("Content-Type", "application/xml")], body: .bytes(xml))
    }
}
