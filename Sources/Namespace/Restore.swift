extension Namespace {
    /// Takes over the inodes that the kernel knows from an engine that is gone, into an empty namespace. A record whose
    /// place in the tree can't be told is left out: the kernel gets ESTALE for it and looks its path up again.
    public func restore(_ records: [InodeRecord]) {
        let byInode = Dictionary(records.map { ($0.inode, $0) }, uniquingKeysWith: { first, _ in first })
        let byParent = Dictionary(grouping: byInode.values, by: \.parent)
        lock.withLock {
            var queue = [rootInode]
            while let inode = queue.popLast() {
                guard let children = byParent[inode], let directory = table.directory(inode) else { continue }
                restore(children, to: directory)
                for child in children where child.isDirectory { queue.append(child.inode) }
            }
        }
    }

    private func restore(_ children: [InodeRecord], to directory: Directory) {
        // Raw names and ETags in one place, as the merge reads them by address.
        var bytes: [UInt8] = []
        let parts = children.compactMap { record -> (InodeRecord, Range<Int>, Range<Int>)? in
            guard record.name.withUnsafeBytes({ EntryName.fault($0) }) == nil else { return nil }
            let start = bytes.count
            bytes += record.name
            if record.isDirectory { bytes.append(slash) }
            let middle = bytes.count
            bytes += Array(record.etag.utf8)
            return (record, start..<middle, middle..<bytes.count)
        }
        bytes.withUnsafeBytes { bytes in
            var entries = parts.map { record, raw, etag in
                ListedEntry(
                    raw: bytes.slice(raw), size: record.size, modified: record.modified, etag: bytes.slice(etag),
                    isReadable: record.isReadable, isRestored: true)
            }
            entries.sort { compare($0.raw, $1.raw) < 0 }
            // Of several versions of a file, which one is still there is told by the next request.
            for i in entries.indices.dropFirst() where compare(entries[i - 1].raw, entries[i].raw) == 0 {
                entries[i].isGone = true
            }
            table.apply(entries, to: directory, lower: [], upper: [])
        }
    }
}
