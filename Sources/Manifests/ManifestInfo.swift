/// What a manifest says of itself.
public struct ManifestInfo: Sendable, Equatable {
    public var bucket: String
    /// Of the snapshot: "" or ends in "/".
    public var prefix: String
    /// Seconds since 1970.
    public var created: Int64
    public var objects: UInt64
    public var bytes: UInt64
    /// 32 hexadecimal digits: the same for equal contents (keys, versions and sizes), whatever the time and order in
    /// which they were listed.
    public var digest: String
    /// Objects with an ID of a version that stays though the object is replaced or deleted.
    public var versioned: UInt64

    public init(bucket: String, prefix: String, created: Int64) {
        self.bucket = bucket
        self.prefix = prefix
        self.created = created
        objects = 0
        bytes = 0
        digest = ""
        versioned = 0
    }

    private enum Tag: UInt64 {
        case bucket = 1
        case prefix, created, objects, bytes, digest, versioned
    }

    /// (tag, length, value)…; a reader skips tags that it doesn't know.
    var encoded: [UInt8] {
        var out: [UInt8] = []
        func add(_ tag: Tag, _ value: [UInt8]) {
            Varint.append(tag.rawValue, to: &out)
            Varint.append(UInt64(value.count), to: &out)
            out += value
        }
        func number(_ value: UInt64) -> [UInt8] {
            var bytes: [UInt8] = []
            Varint.append(value, to: &bytes)
            return bytes
        }
        add(.bucket, Array(bucket.utf8))
        add(.prefix, Array(prefix.utf8))
        add(.created, number(UInt64(bitPattern: created)))
        add(.objects, number(objects))
        add(.bytes, number(bytes))
        add(.digest, Array(digest.utf8))
        add(.versioned, number(versioned))
        return out
    }

    init(_ bytes: UnsafeRawBufferPointer) throws(ManifestError) {
        self.init(bucket: "", prefix: "", created: 0)
        var reader = ByteReader(bytes)
        while !reader.isAtEnd {
            let tag = try reader.varint()
            let value = try reader.take(try reader.varint())
            func number() throws(ManifestError) -> UInt64 {
                var reader = ByteReader(value)
                return try reader.varint()
            }
            switch Tag(rawValue: tag) {
            case .bucket: bucket = String(decoding: value, as: UTF8.self)
            case .prefix: prefix = String(decoding: value, as: UTF8.self)
            case .created: created = Int64(bitPattern: try number())
            case .objects: objects = try number()
            case .bytes: self.bytes = try number()
            case .digest: digest = String(decoding: value, as: UTF8.self)
            case .versioned: versioned = try number()
            case nil: break
            }
        }
    }
}
