import S3
import Threads

/// Takes pages of listings into the table.
struct PageReader {
    let table: Table
    let fetched: Instant
    let isAhead: Bool
    /// Names that can't be shown, with the reason.
    private(set) var hidden: [(key: [UInt8], reason: String)] = []
    private(set) var entries = 0

    init(table: Table, fetched: Instant, isAhead: Bool) {
        self.table = table
        self.fetched = fetched
        self.isAhead = isAhead
    }

    /// A page of one directory, listed with the delimiter: it tells all of [lower, upper).
    mutating func read(_ page: Page, into directory: Directory, lower: [UInt8], upper: [UInt8]?) {
        let prefixCount = directory.path.count
        page.source.bytes.withUnsafeBytes { bytes in
            var new: [ListedEntry] = []
            new.reserveCapacity(page.items.count)
            for item in page.items {
                // The directory's own marker.
                if item.key.count == prefixCount { continue }
                let entry = page.entry(item, prefixCount, bytes)
                if isShown(entry.raw, bytes.slice(item.key)) { new.append(entry) }
            }
            add(new, to: directory, lower: lower, upper: upper, isEmpty: page.items.isEmpty)
        }
    }

    /// A page of all that is below a directory, listed flat: it tells all of [lower, upper), which is relative to it.
    mutating func readFlat(_ page: Page, below root: Directory, lower: [UInt8], upper: [UInt8]?) {
        page.source.bytes.withUnsafeBytes { bytes in
            // The page before may have ended with the last file of a directory: that it ends there is told by this one.
            var open = ([root] + table.known(along: lower, from: root)).map { OpenDirectory(directory: $0) }
            open[0].isEntered = true
            for item in page.items {
                let key = bytes.slice(item.key)
                // Whatever the key isn't in has been seen to its end.
                while open.count > 1, !open[open.count - 1].directory.path.withUnsafeBytes({ key.starts(with: $0) }) {
                    close(open.removeLast(), root, lower, upper: nil, isPast: true)
                }
                for i in open.indices where !open[i].isEntered {
                    open[i].isEntered = true
                    let raw = key.slice(open[i - 1].directory.path.count..<open[i].directory.path.count)
                    open[i - 1].entries.append(ListedEntry(raw: raw))
                }
                descend(page, item, key, bytes, &open)
            }
            while let last = open.popLast() { close(last, root, lower, upper: upper, isPast: false) }
        }
    }

    private struct OpenDirectory {
        let directory: Directory
        var entries: [ListedEntry] = []
        /// A key in it was seen, so that it is an entry of the one above.
        var isEntered = false
    }

    private mutating func descend(
        _ page: Page, _ item: Page.Item, _ key: Bytes, _ bytes: Bytes, _ open: inout [OpenDirectory]
    ) {
        var start = open[open.count - 1].directory.path.count
        while let end = key[start...].firstIndex(of: slash) {
            let raw = key.slice(start..<end + 1)
            guard isShown(raw, key) else { return }
            open[open.count - 1].entries.append(ListedEntry(raw: raw))
            guard let child = table.child(raw, of: open[open.count - 1].directory) else { return }
            open.append(OpenDirectory(directory: child, isEntered: true))
            start = end + 1
        }
        guard start < key.count else { return }
        let entry = page.entry(item, start, bytes)
        if isShown(entry.raw, key) { open[open.count - 1].entries.append(entry) }
    }

    private mutating func close(
        _ open: OpenDirectory, _ root: Directory, _ lower: [UInt8], upper: [UInt8]?, isPast: Bool
    ) {
        let directory = open.directory
        let below = directory.path[root.path.count...]
        let from = lower.starts(with: below) ? Array(lower[below.count...]) : []
        // Nil: to the end of the listing, and so of the directory; or the last key lies in it.
        var to: [UInt8]?
        if !isPast, let upper, upper.starts(with: below) { to = Array(upper[below.count...]) }
        add(open.entries, to: directory, lower: from, upper: to, isEmpty: open.entries.isEmpty)
    }

    private mutating func add(
        _ new: [ListedEntry], to directory: Directory, lower: [UInt8], upper: [UInt8]?, isEmpty: Bool
    ) {
        table.apply(new, to: directory, lower: lower, upper: upper)
        table.changeRanges(directory) {
            $0.insert(.init(lower: lower, upper: upper, fetched: fetched, isAhead: isAhead))
        }
        if !isEmpty { table.saw(directory, at: fetched) }
        table.touch(directory)
        entries += new.count
    }

    private mutating func isShown(_ raw: Bytes, _ key: Bytes) -> Bool {
        let name = raw.last == slash ? raw.slice(0..<raw.count - 1) : raw
        guard let reason = EntryName.fault(name) else { return true }
        hidden.append((Array(key), reason))
        return false
    }
}
