import S3

/// Why a page of a listing can't be used.
struct PageFault: Error, Equatable {
    var reason: String
    init(_ reason: String) { self.reason = reason }
}

/// One page of a listing after it was checked: objects and prefixes as one sequence in the order of keys.
struct Page {
    struct Item {
        /// Of the page's bytes, with all of the prefix.
        var key: Range<Int>
        /// In the page's objects; -1: a common prefix.
        var object: Int
    }

    let source: ListPage
    let items: [Item]

    /// `isWhole`: no page came before it, and none follows. Only such a page may be out of order.
    init(_ page: ListPage, prefix: [UInt8], isDelimited: Bool, isWhole: Bool) throws(PageFault) {
        source = page
        var items: [Item] = []
        items.reserveCapacity(page.objects.count + page.prefixes.count)
        let fault: PageFault? = page.bytes.withUnsafeBytes { bytes in
            var o = 0
            var p = 0
            while o < page.objects.count || p < page.prefixes.count {
                let takesObject =
                    p == page.prefixes.count
                    || o < page.objects.count
                        && compare(bytes.slice(page.objects[o].key), bytes.slice(page.prefixes[p])) <= 0
                if takesObject {
                    items.append(Item(key: page.objects[o].key, object: o))
                    o += 1
                } else {
                    items.append(Item(key: page.prefixes[p], object: -1))
                    p += 1
                }
            }
            if isWhole, !Page.isSorted(items, bytes) {
                items.sort { compare(bytes.slice($0.key), bytes.slice($1.key)) < 0 }
            }
            return Page.fault(items, bytes, prefix, isDelimited)
        }
        if let fault { throw fault }
        self.items = items
    }

    private static func isSorted(_ items: [Item], _ bytes: Bytes) -> Bool {
        for i in items.indices.dropFirst() where compare(bytes.slice(items[i - 1].key), bytes.slice(items[i].key)) >= 0
        {
            return false
        }
        return true
    }

    private static func fault(_ items: [Item], _ bytes: Bytes, _ prefix: [UInt8], _ isDelimited: Bool) -> PageFault? {
        prefix.withUnsafeBytes { prefix in
            for (i, item) in items.enumerated() {
                let key = bytes.slice(item.key)
                guard key.starts(with: prefix) else { return PageFault("a key lies outside of the prefix") }
                if item.object < 0, key.count == prefix.count || key.last != slash {
                    return PageFault("a common prefix doesn't end in the delimiter")
                }
                if item.object >= 0, isDelimited, key.slice(prefix.count..<key.count).contains(slash) {
                    return PageFault("a key should have been in a common prefix")
                }
                if i > 0 {
                    let order = compare(bytes.slice(items[i - 1].key), key)
                    if order == 0 { return PageFault("a key comes twice") }
                    if order > 0 { return PageFault("its keys are out of order") }
                }
            }
            return nil
        }
    }

    /// How far the page tells all there is, relative to the first `prefixCount` bytes; nil: to the end.
    func upper(_ prefixCount: Int) -> [UInt8]? {
        guard source.nextToken != nil, let last = items.last else { return nil }
        return source.bytes.withUnsafeBytes { bytes in
            let key = bytes.slice(last.key.lowerBound + prefixCount..<last.key.upperBound)
            return last.object < 0 ? Position.after(entry: key) : Position.after(key)
        }
    }

    /// The entry of an object, whose raw name starts after `prefixCount` bytes.
    func entry(_ item: Item, _ prefixCount: Int, _ bytes: Bytes) -> ListedEntry {
        let raw = bytes.slice(item.key.lowerBound + prefixCount..<item.key.upperBound)
        guard item.object >= 0 else { return ListedEntry(raw: raw) }
        let object = source.objects[item.object]
        return ListedEntry(
            raw: raw, size: object.size, modified: object.modified, etag: bytes.slice(object.etag),
            isReadable: object.isReadable)
    }
}
