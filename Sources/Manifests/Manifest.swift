import S3
import SystemPackage

/// A snapshot of a prefix: its objects in key order. Opening looks at the index alone; each block is decoded, and
/// compared with its checksum, when something in it is asked for.
public final class Manifest: Sendable {
    public let info: ManifestInfo
    public let blockCount: Int
    private let source: ManifestBytes
    private let index: Range<Int>

    struct Block {
        var bytes: Range<Int>
        var count: Int
        var checksum: UInt32
        var firstKey: Range<Int>
    }

    public convenience init(file path: String) throws(ManifestError) {
        let bytes: ManifestBytes
        do throws(Errno) { bytes = try ManifestBytes(file: path) } catch {
            throw ManifestError("\(path) can't be read: \(error)")
        }
        try self.init(bytes)
    }

    /// Throws where the bytes are no manifest, one of a later format, or damaged in its index.
    public init(_ source: ManifestBytes) throws(ManifestError) {
        let bytes = source.bytes
        typealias Footer = ManifestLayout.Footer
        let least = ManifestLayout.headerBytes + ManifestLayout.footerBytes
        guard bytes.count >= least, bytes[..<7].elementsEqual(ManifestLayout.magic[..<7]) else {
            throw ManifestError("this is no manifest of a revision, or only its beginning")
        }
        guard bytes[7] == ManifestLayout.format else {
            throw ManifestError(
                "the manifest has format \(bytes[7]), and this version reads format \(ManifestLayout.format)")
        }
        let footer = UnsafeRawBufferPointer(rebasing: bytes[(bytes.count - ManifestLayout.footerBytes)...])
        guard footer[Footer.magic...].elementsEqual(ManifestLayout.magic) else {
            throw ManifestError("the manifest is cut off")
        }
        guard crc32c(.init(rebasing: footer[..<Footer.checksum])) == footer.integer(UInt32.self, at: Footer.checksum)
        else { throw ManifestError("the manifest's footer is damaged") }

        func section(_ offset: Int, _ length: Int) throws(ManifestError) -> Range<Int> {
            let start = footer.integer(UInt64.self, at: offset)
            let count = footer.integer(UInt64.self, at: length)
            guard start <= UInt64(bytes.count), count <= UInt64(bytes.count) - start else {
                throw ManifestError("the manifest's footer points beyond its end")
            }
            return Int(start)..<Int(start + count)
        }
        index = try section(Footer.indexOffset, Footer.indexLength)
        let infoRange = try section(Footer.infoOffset, Footer.infoLength)
        let infoBytes = UnsafeRawBufferPointer(rebasing: bytes[infoRange])
        let count = footer.integer(UInt64.self, at: Footer.blockCount)
        guard count <= UInt64(index.count / ManifestLayout.recordBytes),
            crc32c(.init(rebasing: bytes[index])) == footer.integer(UInt32.self, at: Footer.indexChecksum),
            crc32c(infoBytes) == footer.integer(UInt32.self, at: Footer.infoChecksum)
        else { throw ManifestError("the manifest's index is damaged") }
        blockCount = Int(count)
        info = try ManifestInfo(infoBytes)
        self.source = source
    }

    /// A block's record, checked as far as memory safety needs it.
    func block(_ i: Int) throws(ManifestError) -> Block {
        let bytes = source.bytes
        let record = index.lowerBound + i * ManifestLayout.recordBytes
        let offset = bytes.integer(UInt64.self, at: record)
        let length = Int(bytes.integer(UInt32.self, at: record + 8))
        guard offset <= UInt64(bytes.count), length <= bytes.count - Int(offset) else {
            throw ManifestError("a block lies beyond the manifest's end")
        }
        let keys = index.lowerBound + blockCount * ManifestLayout.recordBytes
        let keyStart = i == 0 ? 0 : Int(bytes.integer(UInt32.self, at: record - ManifestLayout.recordBytes + 20))
        let keyEnd = Int(bytes.integer(UInt32.self, at: record + 20))
        guard keyStart <= keyEnd, keys + keyEnd <= index.upperBound else {
            throw ManifestError("a block's first key lies beyond the index")
        }
        return Block(
            bytes: Int(offset)..<Int(offset) + length, count: Int(bytes.integer(UInt32.self, at: record + 12)),
            checksum: bytes.integer(UInt32.self, at: record + 16), firstKey: keys + keyStart..<keys + keyEnd)
    }

    /// The objects of a block, in key order.
    public func objects(ofBlock i: Int) throws(ManifestError) -> ListPage {
        let block = try block(i)
        let bytes = UnsafeRawBufferPointer(rebasing: source.bytes[block.bytes])
        guard crc32c(bytes) == block.checksum, block.count <= ManifestBlock.maxCount else {
            throw ManifestError("a block of the manifest is damaged")
        }
        return try ManifestBlock.decode(bytes, count: block.count)
    }

    /// The block that holds `key` if any does: the last one that begins at or before it. -1: all begin after it.
    func blockIndex(for key: [UInt8]) throws(ManifestError) -> Int {
        var low = 0
        var high = blockCount
        while low < high {
            let middle = (low + high) / 2
            let first = try block(middle).firstKey
            if key.lexicographicallyPrecedes(source.bytes[first]) { high = middle } else { low = middle + 1 }
        }
        return low - 1
    }

    /// One object.
    public struct Entry: Sendable, Equatable {
        public var key: ObjectKey
        public var size: UInt64
        public var modified: Int64
        /// "" where the version's ID alone says which bytes are meant.
        public var etag: String
        public var versionID: String?
        public var isReadable: Bool

        /// What tells versions of the key apart: what a listing shows as ETag.
        public var tag: String { etag.isEmpty ? versionID ?? "" : etag }

        init(_ object: ListPage.Object, _ page: ListPage) {
            key = ObjectKey(Array(page.bytes[object.key]))
            size = object.size
            modified = object.modified
            etag = String(decoding: page.bytes[object.etag], as: UTF8.self)
            versionID = object.version.isEmpty ? nil : String(decoding: page.bytes[object.version], as: UTF8.self)
            isReadable = object.isReadable
        }
    }

    public func entry(_ key: ObjectKey) throws(ManifestError) -> Entry? {
        let i = try blockIndex(for: key.bytes)
        guard i >= 0 else { return nil }
        let page = try objects(ofBlock: i)
        let at = page.firstObject(notBefore: key.bytes)
        guard at < page.objects.count, page.bytes[page.objects[at].key].elementsEqual(key.bytes) else { return nil }
        return Entry(page.objects[at], page)
    }

    /// Checks every block, and that they are in order: what opening leaves out.
    public func verify() throws(ManifestError) {
        var last: [UInt8]?
        var count: UInt64 = 0
        for i in 0..<blockCount {
            let page = try objects(ofBlock: i)
            guard let first = page.objects.first, let end = page.objects.last else {
                throw ManifestError("a block is empty")
            }
            if let last, !last.lexicographicallyPrecedes(page.bytes[first.key]) {
                throw ManifestError("its blocks are out of order")
            }
            last = Array(page.bytes[end.key])
            count += UInt64(page.objects.count)
        }
        guard count == info.objects else {
            throw ManifestError("it has \(count) objects and says that it has \(info.objects)")
        }
    }
}

extension ListPage {
    /// The index of the first object whose key isn't before `key`.
    func firstObject(notBefore key: [UInt8]) -> Int {
        var low = 0
        var high = objects.count
        while low < high {
            let middle = (low + high) / 2
            if bytes[objects[middle].key].lexicographicallyPrecedes(key) { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
