import Curl

/// The status and the headers of an answer that this client looks at.
public struct ResponseHead: Sendable {
    public private(set) var status = 0
    /// The empty line was there.
    public private(set) var isComplete = false
    public private(set) var contentLength: UInt64?
    /// A Content-Range that makes no sense.
    public private(set) var hasBadRange = false
    public private(set) var contentRange: ContentRange?
    /// Without its quotes, and without the "W/" of a weak one.
    public private(set) var etag: String?
    public private(set) var modified: Int64?
    /// The server's clock, in seconds since 1970.
    public private(set) var date: Int64?
    public private(set) var versionID: String?
    public private(set) var storageClass: String?
    public private(set) var contentType: String?
    public private(set) var restore: String?
    public private(set) var bucketRegion: String?
    public private(set) var requestID: String?
    public private(set) var server: String?
    public private(set) var isDeleteMarker = false
    /// Of the whole object, in base64, by algorithm.
    public private(set) var checksums: [String: String] = [:]
    public private(set) var encryption: String?

    public init() {}

    /// Takes the next line, without its line end. A new status line starts over, as after a 100.
    public mutating func add(_ line: UnsafeRawBufferPointer) {
        switch HeaderLine(line) {
        case .status(let status):
            if isComplete && self.status >= 200 { return }  // Nothing may follow the final head but trailers.
            self = ResponseHead()
            self.status = status
        case .end: isComplete = status >= 200
        case .field(let name, let value) where !isComplete: add(name, value)
        case .field, .malformed: break
        }
    }

    private mutating func add(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
        switch name.count {
        case 4:
            if HeaderLine.isName(name, "etag") { etag = Self.unquoted(value) }
            if HeaderLine.isName(name, "date") { date = Dates.parseHTTP(value) }
        case 6: if HeaderLine.isName(name, "server") { server = Self.text(value) }
        case 12: if HeaderLine.isName(name, "content-type") { contentType = Self.text(value) }
        case 13:
            if HeaderLine.isName(name, "content-range") {
                contentRange = ContentRange(value)
                hasBadRange = contentRange == nil
            }
            if HeaderLine.isName(name, "last-modified") { modified = Dates.parseHTTP(value) }
            if HeaderLine.isName(name, "x-amz-restore") { restore = Self.text(value) }
        case 14: if HeaderLine.isName(name, "content-length") { contentLength = Decimal.parse(value) }
        case 16:
            if HeaderLine.isName(name, "x-amz-version-id") { versionID = Self.text(value) }
            if HeaderLine.isName(name, "x-amz-request-id") { requestID = Self.text(value) }
        case 19:
            if HeaderLine.isName(name, "x-amz-storage-class") { storageClass = Self.text(value) }
            if HeaderLine.isName(name, "x-amz-bucket-region") { bucketRegion = Self.text(value) }
            if HeaderLine.isName(name, "x-amz-delete-marker") { isDeleteMarker = value.elementsEqual("true".utf8) }
            addChecksum(name, value)
        case 20, 21, 24: addChecksum(name, value)
        case 28: if HeaderLine.isName(name, "x-amz-server-side-encryption") { encryption = Self.text(value) }
        default: break
        }
    }

    /// `x-amz-checksum-ALGORITHM`. Those of the parts of an upload, with a dash and their number behind, aren't the
    /// object's.
    private mutating func addChecksum(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
        let prefix = "x-amz-checksum-"
        let name = String(decoding: name.lazy.map(HeaderLine.lower), as: UTF8.self)
        guard name.hasPrefix(prefix), !value.contains(UInt8(ascii: "-")) else { return }
        checksums[String(name.dropFirst(prefix.utf8.count))] = Self.text(value)
    }

    /// An archived object can be read while a restored copy is there: `ongoing-request="false"`.
    public var isReadable: Bool {
        guard let storageClass, StorageClass.isArchive(storageClass.utf8) else { return true }
        return restore?.contains("ongoing-request=\"false\"") ?? false
    }

    private static func text(_ value: UnsafeRawBufferPointer) -> String {
        String(decoding: value.prefix(1024), as: UTF8.self)
    }

    private static func unquoted(_ value: UnsafeRawBufferPointer) -> String {
        var value = value[...]
        if value.starts(with: "W/".utf8) { value = value.dropFirst(2) }
        if value.count >= 2, value.first == 0x22, value.last == 0x22 { value = value.dropFirst().dropLast() }
        return String(decoding: value.prefix(1024), as: UTF8.self)
    }
}

/// Storage classes whose objects can't be read before they are restored.
enum StorageClass {
    static func isArchive(_ name: some Sequence<UInt8>) -> Bool {
        name.elementsEqual("GLACIER".utf8) || name.elementsEqual("DEEP_ARCHIVE".utf8)
    }
}
