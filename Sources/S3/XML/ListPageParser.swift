import Curl

/// Parses a ListBucketResult as it arrives, straight into a packed page.
final class ListPageParser: XMLHandler {
    private lazy var reader = XMLReader(self)
    private var bytes: [UInt8] = []
    private var objects: [ListPage.Object] = []
    private var prefixes: [Range<Int>] = []
    private var isURLEncoded = false
    private var isTruncated = false
    private var nextToken: String?
    /// Reads a ListVersionsResult: of each key the latest version, unless it is a delete marker.
    private let isOfVersions: Bool
    private var nextKey: String?
    private var nextVersion = ""

    // The object or prefix that is open.
    private var key: Range<Int>?
    private var etag: Range<Int>?
    private var size: UInt64?
    private var modified: Int64 = 0
    private var version: Range<Int>?
    private var isLatest = true
    private var isReadable = true
    private var isRestored = false
    private var container = Container.none

    private enum Container { case none, object, prefix }

    /// S3 sends 1000; others may be set up to send more.
    private static let maxEntries = 100_000

    init(ofVersions isOfVersions: Bool = false) {
        self.isOfVersions = isOfVersions
        bytes.reserveCapacity(96 << 10)
        objects.reserveCapacity(1000)
    }

    /// Nil, or what is wrong with the document.
    func parse(_ bytes: UnsafeRawBufferPointer) -> String? { reader.parse(bytes) }

    /// The page, after the last byte. Keys at or before `after`, and those without the prefix, which a server that
    /// ignores a parameter sends, are left out.
    func finish(prefix: ObjectKey, after: ObjectKey?) -> Result<ListPage, MalformedList> {
        if let problem = reader.finish() { return .failure(MalformedList(why: problem)) }
        if isOfVersions, isTruncated, let nextKey {
            var key = Array(nextKey.utf8)
            if isURLEncoded {
                key.removeLast(key.count - key.withUnsafeMutableBufferPointer { PercentEncoding.decodeForm($0) })
            }
            nextToken =
                PercentEncoding.encode(key, keepsSlash: false) + " "
                + PercentEncoding.encode(nextVersion.utf8, keepsSlash: false)
        }
        if isTruncated {
            guard let nextToken, !nextToken.isEmpty else {
                return .failure(MalformedList(why: "it is truncated and has no NextContinuationToken"))
            }
        }
        if isURLEncoded { decode() }
        tidy(prefix: prefix, after: after)
        let token = isTruncated ? nextToken : nil
        return .success(ListPage(bytes: bytes, objects: objects, prefixes: prefixes, nextToken: token))
    }

    func started(_ name: XMLName, depth: Int) -> String? {
        switch (depth, name) {
        case (1, "ListBucketResult") where !isOfVersions: return nil
        case (1, "ListVersionsResult") where isOfVersions: return nil
        case (1, _):
            return
                "its root is \(name.text.prefix(64)), not \(isOfVersions ? "ListVersionsResult" : "ListBucketResult")"
        case (2, "Contents"), (2, "Version"):
            container = .object
            (key, etag, size, modified, isReadable, isRestored) = (nil, nil, nil, 0, true, false)
            (version, isLatest) = (nil, !isOfVersions)
        case (2, "CommonPrefixes"):
            container = .prefix
            key = nil
        case (2, _): container = .none
        default: break
        }
        return objects.count + prefixes.count > Self.maxEntries ? "it has too many entries" : nil
    }

    func ended(_ name: XMLName, depth: Int, text: UnsafeRawBufferPointer) -> String? {
        switch (depth, container) {
        case (2, .object): return endObject()
        case (2, .prefix): return endPrefix()
        case (2, .none): endProperty(name, text)
        case (3, .object): return endField(name, text)
        case (3, .prefix): if case "Prefix" = name { key = store(text) }
        case (4, .object):
            // RestoreStatus: restored where it is not in progress any more and has an expiry date.
            if case "RestoreExpiryDate" = name { isRestored = true }
        default: break
        }
        return nil
    }

    private func endProperty(_ name: XMLName, _ text: UnsafeRawBufferPointer) {
        switch name {
        case "EncodingType": isURLEncoded = text.elementsEqual("url".utf8)
        case "IsTruncated": isTruncated = text.elementsEqual("true".utf8)
        case "NextKeyMarker": nextKey = String(decoding: text, as: UTF8.self)
        case "NextVersionIdMarker": nextVersion = String(decoding: text, as: UTF8.self)
        case "NextContinuationToken": nextToken = String(decoding: text, as: UTF8.self)
        default: break
        }
    }

    private func endField(_ name: XMLName, _ text: UnsafeRawBufferPointer) -> String? {
        switch name {
        case "Key": key = store(text)
        case "ETag":
            let isQuoted = text.count >= 2 && text.first == 0x22 && text.last == 0x22
            etag = store(isQuoted ? UnsafeRawBufferPointer(rebasing: text.dropFirst().dropLast()) : text)
        case "Size":
            size = Decimal.parse(text)
            if size == nil { return "an object's size is not a number" }
        case "LastModified": modified = Dates.parseISO8601(text) ?? 0
        case "VersionId": version = store(text)
        case "IsLatest": isLatest = text.elementsEqual("true".utf8)
        case "StorageClass": isReadable = !StorageClass.isArchive(text)
        default: break
        }
        return nil
    }

    private func endObject() -> String? {
        container = .none
        guard let key, let size else { return "an object has no key or no size" }
        guard isLatest else { return nil }
        objects.append(
            ListPage.Object(
                key: key, etag: etag ?? 0..<0, size: size, modified: modified, isReadable: isReadable || isRestored,
                version: version ?? 0..<0))
        return nil
    }

    private func endPrefix() -> String? {
        container = .none
        guard let key else { return "a common prefix is empty" }
        prefixes.append(key)
        return nil
    }

    private func store(_ text: UnsafeRawBufferPointer) -> Range<Int> {
        let start = bytes.count
        bytes.append(contentsOf: text)
        return start..<bytes.count
    }

    /// EncodingType may come after the keys, so they are decoded at the end; each where it lies, as it only shrinks.
    private func decode() {
        bytes.withUnsafeMutableBufferPointer { bytes in
            for i in objects.indices { Self.decode(bytes, &objects[i].key) }
            for i in prefixes.indices { Self.decode(bytes, &prefixes[i]) }
        }
    }

    private static func decode(_ bytes: UnsafeMutableBufferPointer<UInt8>, _ range: inout Range<Int>) {
        let count = PercentEncoding.decodeForm(UnsafeMutableBufferPointer(rebasing: bytes[range]))
        range = range.lowerBound..<(range.lowerBound + count)
    }

    /// Drops what was not asked for, and sorts what is not sorted (S3 Express, some others).
    private func tidy(prefix: ObjectKey, after: ObjectKey?) {
        bytes.withUnsafeBufferPointer { bytes in
            func isWanted(_ range: Range<Int>) -> Bool {
                guard bytes[range].starts(with: prefix.bytes) else { return false }
                return after.map { $0.bytes.lexicographicallyPrecedes(bytes[range]) } ?? true
            }
            func precedes(_ a: Range<Int>, _ b: Range<Int>) -> Bool { bytes[a].lexicographicallyPrecedes(bytes[b]) }
            if !objects.allSatisfy({ isWanted($0.key) }) { objects.removeAll { !isWanted($0.key) } }
            // A prefix that holds `after` may well hold more after it, so a server may send it again.
            if !prefixes.allSatisfy({ bytes[$0].starts(with: prefix.bytes) }) {
                prefixes.removeAll { !bytes[$0].starts(with: prefix.bytes) }
            }
            if zip(objects, objects.dropFirst()).contains(where: { precedes($1.key, $0.key) }) {
                objects.sort { precedes($0.key, $1.key) }
            }
            if zip(prefixes, prefixes.dropFirst()).contains(where: { precedes($1, $0) }) {
                prefixes.sort(by: precedes)
            }
        }
    }
}

struct MalformedList: Error, Equatable {
    var why: String
}
