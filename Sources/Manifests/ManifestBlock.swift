import S3

/// Up to `maxCount` objects in key order, packed: each key as what it has in common with the one before and the rest.
enum ManifestBlock {
    static let maxCount = 128

    private static let archivedFlag: UInt8 = 1 << 4

    /// - Parameter objects: in key order; ranges of `bytes`.
    static func encode(_ objects: ArraySlice<ListPage.Object>, _ bytes: UnsafeRawBufferPointer) -> [UInt8] {
        var out: [UInt8] = []
        var previous = UnsafeRawBufferPointer(start: nil, count: 0)
        var modified: Int64 = 0
        var tags: [UInt8] = []
        for object in objects {
            let key = UnsafeRawBufferPointer(rebasing: bytes[object.key])
            var shared = 0
            while shared < min(previous.count, key.count), previous[shared] == key[shared] { shared += 1 }
            Varint.append(UInt64(shared), to: &out)
            Varint.append(UInt64(key.count - shared), to: &out)
            out += key[shared...]
            previous = key

            tags.removeAll(keepingCapacity: true)
            let version = UnsafeRawBufferPointer(rebasing: bytes[object.version])
            // A version never changes, so its ID alone says which bytes are meant; the "null" version can be replaced.
            let isPinned = !version.isEmpty && !version.elementsEqual("null".utf8)
            let etag = UnsafeRawBufferPointer(rebasing: bytes[isPinned ? 0..<0 : object.etag])
            let etagForm = VersionTag.appendETag(etag, to: &tags)
            let versionForm = VersionTag.appendVersion(version, to: &tags)
            out.append(
                etagForm.rawValue | versionForm.rawValue << 2 | (object.isReadable ? 0 : archivedFlag))
            Varint.append(object.size, to: &out)
            Varint.append(signed: object.modified &- modified, to: &out)
            modified = object.modified
            out += tags
        }
        return out
    }

    /// The objects as a page: what `encode` took. The keys are in order, else it throws.
    static func decode(_ bytes: UnsafeRawBufferPointer, count: Int) throws(ManifestError) -> ListPage {
        var reader = ByteReader(bytes)
        var page = ListPage()
        page.bytes.reserveCapacity(count * 80)
        page.objects.reserveCapacity(min(count, maxCount))
        var previous = 0..<0
        var modified: Int64 = 0
        for i in 0..<count {
            let shared = try reader.varint()
            guard shared <= UInt64(previous.count) else {
                throw ManifestError("a key has more in common than there is")
            }
            let rest = try reader.take(try reader.varint())
            guard Int(shared) + rest.count <= 65_535 else { throw ManifestError("a key is too long") }
            let key = page.bytes.count..<page.bytes.count + Int(shared) + rest.count
            for offset in 0..<Int(shared) { page.bytes.append(page.bytes[previous.lowerBound + offset]) }
            page.bytes += rest
            if i > 0 {
                guard page.bytes[previous].lexicographicallyPrecedes(page.bytes[key]) else {
                    throw ManifestError("its keys are out of order")
                }
            }
            previous = key
            let flags = try reader.byte()
            guard flags < archivedFlag << 1, let etagForm = VersionTag.Form(rawValue: flags & 3),
                let versionForm = VersionTag.Form(rawValue: flags >> 2 & 3)
            else { throw ManifestError("an entry's flags aren't known") }
            let size = try reader.varint()
            let delta = try reader.signedVarint()
            modified = modified &+ delta
            let etag = page.bytes.count
            try VersionTag.readETag(etagForm, &reader, into: &page.bytes)
            let version = page.bytes.count
            try VersionTag.readVersion(versionForm, &reader, into: &page.bytes)
            page.objects.append(
                ListPage.Object(
                    key: key, etag: etag..<version, size: size, modified: modified,
                    isReadable: flags & archivedFlag == 0, version: version..<page.bytes.count))
        }
        guard reader.isAtEnd else { throw ManifestError("a block is longer than its entries") }
        return page
    }
}
