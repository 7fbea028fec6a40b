import S3

extension Manifest {
    /// Answers a LIST as S3 would have when the snapshot was made.
    public func list(_ request: ListRequest) throws(ManifestError) -> ListPage {
        var cursor = Cursor(self)
        let prefix = request.prefix.bytes
        var position = prefix
        if let token = request.continuationToken {
            guard let decoded = Token.decode(token) else { throw ManifestError("the continuation token is malformed") }
            if position.lexicographicallyPrecedes(decoded) { position = decoded }
        } else if let after = request.startAfter {
            // A prefix that holds the key is listed all the same, if something in it comes after.
            let next = after.bytes + [0]
            if position.lexicographicallyPrecedes(next) { position = next }
        }
        let limit = min(max(request.maxKeys, 0), 1000)
        var page = ListPage()
        var count = 0
        try cursor.move(to: position)
        while let object = cursor.object {
            let key = cursor.page.bytes[object.key]
            guard key.starts(with: prefix) else { break }
            if count == limit {
                page.nextToken = limit == 0 ? nil : Token.encode(position)
                break
            }
            count += 1
            if let delimiter = request.delimiter,
                let end = key[(key.startIndex + prefix.count)...].firstIndex(of: delimiter)
            {
                let common = Array(key[...end])
                page.prefixes.append(page.pack(common))
                guard let after = Self.afterAll(common) else { break }
                position = after
                try cursor.move(to: position)
            } else {
                position = Array(key) + [0]
                page.append(object, of: cursor.page)
                try cursor.advance()
            }
        }
        return page
    }

    /// Just after everything that begins with `prefix`.
    private static func afterAll(_ prefix: [UInt8]) -> [UInt8]? {
        var bytes = prefix
        while let last = bytes.popLast() {
            if last < 0xff { return bytes + [last + 1] }
        }
        return nil
    }

    /// A place in the manifest, with the block that it is in.
    private struct Cursor {
        let manifest: Manifest
        private var block = -1
        private var index = 0
        private(set) var page = ListPage()

        init(_ manifest: Manifest) { self.manifest = manifest }

        var object: ListPage.Object? { index < page.objects.count ? page.objects[index] : nil }

        /// To the first object that isn't before `key`.
        mutating func move(to key: [UInt8]) throws(ManifestError) {
            // Most moves stay in the block.
            if let last = page.objects.last, !page.bytes[last.key].lexicographicallyPrecedes(key),
                let first = page.objects.first, page.bytes[first.key].lexicographicallyPrecedes(key)
            {
                index = page.firstObject(notBefore: key)
                return
            }
            try load(max(try manifest.blockIndex(for: key), 0))
            index = page.firstObject(notBefore: key)
            if index == page.objects.count { try load(block + 1) }
        }

        mutating func advance() throws(ManifestError) {
            index += 1
            if index == page.objects.count { try load(block + 1) }
        }

        private mutating func load(_ next: Int) throws(ManifestError) {
            if next != block { page = next < manifest.blockCount ? try manifest.objects(ofBlock: next) : ListPage() }
            block = next
            index = 0
        }
    }

    /// A position as text.
    private enum Token {
        static func encode(_ position: [UInt8]) -> String {
            var out: [UInt8] = []
            position.withUnsafeBytes { Hex.append($0, to: &out) }
            return String(decoding: out, as: UTF8.self)
        }

        static func decode(_ token: String) -> [UInt8]? {
            let text = Array(token.utf8)
            guard text.count % 2 == 0 else { return nil }
            return text.withUnsafeBytes { Hex.digits($0, 0..<text.count) }
        }
    }
}

extension ListPage {
    fileprivate mutating func pack(_ added: some Collection<UInt8>) -> Range<Int> {
        let start = bytes.count
        bytes += added
        return start..<bytes.count
    }

    /// A version's ID stands for the ETag where there is none: readers tell versions apart by it.
    fileprivate mutating func append(_ object: Object, of page: ListPage) {
        let tag = object.etag.isEmpty ? object.version : object.etag
        objects.append(
            Object(
                key: pack(page.bytes[object.key]), etag: pack(page.bytes[tag]), size: object.size,
                modified: object.modified, isReadable: object.isReadable))
    }
}
