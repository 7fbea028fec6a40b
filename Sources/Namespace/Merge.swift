import Glibc
import Threads

/// An entry as a request told of it; its bytes are the page's.
struct ListedEntry {
    /// The name, with "/" for a directory.
    var raw: Bytes
    var size: UInt64 = 0
    var modified: Int64 = 0
    /// As text.
    var etag = Bytes(start: nil, count: 0)
    var isReadable = true
    /// Not listed, but known to the kernel from an engine before this one.
    var isRestored = false
    /// (Restored) not in the bucket any more.
    var isGone = false

    var isDirectory: Bool { raw.last == slash }
}

/// Room to put blocks together in, kept from one merge to the next.
struct MergeBuffer {
    var entries: [Entry] = []
    /// Where the entries that the kernel knows were before.
    var origins: [Location] = []
    var bytes: [UInt8] = []

    static let nowhere = Location(block: 0, index: 0)

    mutating func clear() {
        entries.removeAll(keepingCapacity: true)
        origins.removeAll(keepingCapacity: true)
        bytes.removeAll(keepingCapacity: true)
    }

    mutating func append(_ block: Block, _ i: Int, isGone: Bool) {
        var entry = block.entries[i]
        if isGone { entry.flags.insert(.gone) }
        entry.offset = UInt32(bytes.count)
        bytes.append(contentsOf: block.raw(i))
        bytes.append(contentsOf: block.tag(i))
        entries.append(entry)
        origins.append(entry.isKnown ? Location(block: block.id, index: UInt16(i)) : Self.nowhere)
    }

    /// Appends what was listed, with the lookups of the same version in `block` from `old` on. True: there was one.
    mutating func append(_ new: ListedEntry, like old: Range<Int>, in block: Block?) -> Int? {
        let offset = bytes.count
        bytes.append(contentsOf: new.raw)
        var flags: Entry.Flags = new.isDirectory ? .directory : []
        switch new.isDirectory ? .text : EntryTag.pack(new.etag, into: &bytes) {
        case .md5: flags.insert(.tagMD5)
        case .parts: flags.insert(.tagParts)
        case .text: break
        case nil:
            // No entry can hold such an ETag; without one, time and size tell versions apart.
            break
        }
        if !new.isReadable { flags.insert(.archived) }
        if new.isRestored { flags.insert(.restored) }
        if new.isGone { flags.insert(.gone) }
        var entry = Entry(
            size: new.size, modified: new.modified, nameCount: new.raw.count - (new.isDirectory ? 1 : 0), flags: flags,
            tagCount: bytes.count - offset - new.raw.count, offset: offset)
        var origin = Self.nowhere
        var same: Int?
        if let block {
            same = old.first { isSame(block, $0, entry) }
            if let same {
                entry.lookups = block.entries[same].lookups
                if block.entries[same].flags.contains(.restored) { entry.flags.insert(.restored) }
                if entry.isKnown { origin = Location(block: block.id, index: UInt16(same)) }
            }
        }
        entries.append(entry)
        origins.append(origin)
        return same
    }

    /// Whether both are the same version, and so the same inode.
    private func isSame(_ block: Block, _ i: Int, _ new: Entry) -> Bool {
        let old = block.entries[i]
        if new.isDirectory { return true }
        guard old.size == new.size, old.tagCount == new.tagCount, old.tagForm == new.tagForm else { return false }
        if new.tagCount == 0 { return old.modified == new.modified }
        return bytes.withUnsafeBytes {
            compare($0.slice($0.count - new.tagCount..<$0.count), block.tag(i)) == 0
        }
    }
}

extension Table {
    /// Takes in what a request told of [lower, upper): `new`, in order, is all there is in it. Entries outside of it are
    /// welcome too. Of what isn't there any more, only what the kernel knows is kept.
    func apply(
        _ new: [ListedEntry], to directory: Directory, lower: [UInt8], upper: [UInt8]?
    ) {
        guard !new.isEmpty || !directory.blocks.isEmpty else { return }
        let blocks = overlapping(directory, new, lower, upper)
        merge.clear()
        var next = 0
        for b in blocks {
            let block = directory.blocks[b]
            var i = 0
            while i < block.count {
                let raw = block.raw(i)
                while next < new.count, compare(new[next].raw, raw) < 0 {
                    _ = merge.append(new[next], like: 0..<0, in: nil)
                    next += 1
                }
                var end = i + 1
                while end < block.count, compare(block.raw(end), raw) == 0 { end += 1 }
                if next < new.count, compare(new[next].raw, raw) == 0 {
                    let same = merge.append(new[next], like: i..<end, in: block)
                    next += 1
                    for old in i..<end where old != same && block.entries[old].isKnown {
                        merge.append(block, old, isGone: true)
                    }
                    while next < new.count, compare(new[next].raw, raw) == 0 {
                        _ = merge.append(new[next], like: 0..<0, in: nil)
                        next += 1
                    }
                } else {
                    let isListed = tells(lower, upper, raw)
                    for old in i..<end where block.entries[old].isKnown || !(isListed || block.entries[old].isGone) {
                        merge.append(block, old, isGone: isListed)
                    }
                }
                i = end
            }
        }
        while next < new.count {
            _ = merge.append(new[next], like: 0..<0, in: nil)
            next += 1
        }
        replace(directory, blocks)
    }

    /// Whether a request for [lower, upper) would have told of an entry: of a directory, all that may be in it counts.
    private func tells(_ lower: [UInt8], _ upper: [UInt8]?, _ raw: Bytes) -> Bool {
        guard compare(lower, raw) <= 0 else { return false }
        guard let upper else { return true }
        return upper.withUnsafeBytes { upper in
            compare(upper, raw) > 0 && !(raw.last == slash && upper.starts(with: raw))
        }
    }

    /// Drops the entries of a block that the kernel doesn't know.
    func keepKnown(_ directory: Directory, _ b: Int) {
        let block = directory.blocks[b]
        merge.clear()
        if block.known > 0 {
            for i in 0..<block.count where block.entries[i].isKnown { merge.append(block, i, isGone: false) }
        }
        replace(directory, b..<b + 1)
    }

    /// The blocks that a merge reads: those that overlap, and the one before where it is small or goes on.
    private func overlapping(
        _ directory: Directory, _ new: [ListedEntry], _ lower: [UInt8], _ upper: [UInt8]?
    ) -> Range<Int> {
        let blocks = directory.blocks
        var first = lower.withUnsafeBytes { directory.blockIndex(for: $0) }
        if let raw = new.first?.raw, compare(lower, raw) > 0 { first = min(first, directory.blockIndex(for: raw)) }
        if first < 0 {
            first = 0
        } else if blocks[first].count >= Block.maxCount / 4,
            compare(lower, blocks[first].raw(blocks[first].count - 1)) > 0,
            new.first.map({ compare($0.raw, blocks[first].raw(blocks[first].count - 1)) > 0 }) ?? true
        {
            first += 1
        }
        var end = first
        while end < blocks.count {
            let raw = blocks[end].raw(0)
            let isListed = upper == nil || compare(upper!, raw) > 0
            guard isListed || (new.last.map { compare($0.raw, raw) >= 0 } ?? false) else { break }
            end += 1
        }
        return first..<max(first, end)
    }

    /// Puts what was merged in the place of some blocks, and tells the index where the known entries are now.
    private func replace(_ directory: Directory, _ range: Range<Int>) {
        let entries = merge.entries
        var made: [Block] = []
        var start = 0
        let parts = (entries.count + Block.maxCount - 1) / Block.maxCount
        while start < entries.count {
            var end = min(
                start + (entries.count - start + parts - made.count - 1) / max(parts - made.count, 1), entries.count)
            end = merge.bytes.withUnsafeBytes { bytes in
                while end < entries.count, sameName(entries[end - 1], entries[end], bytes) { end += 1 }
                made.append(makeBlock(directory, entries[start..<end], bytes))
                return end
            }
            let block = made[made.count - 1]
            for i in 0..<block.count where block.entries[i].isKnown {
                let location = Location(block: block.id, index: UInt16(i))
                let origin = merge.origins[start + i]
                let inode = block.inode(i)
                if origin != MergeBuffer.nowhere {
                    index.move(inode, from: origin, to: location)
                } else {
                    index.insert(inode, location) { self.inode(at: $0) }
                }
            }
            start = end
        }
        let old = directory.blocks[range]
        for block in old { freeBlock(block) }
        directory.blocks.replaceSubrange(range, with: made)
    }

    private func sameName(_ a: Entry, _ b: Entry, _ bytes: Bytes) -> Bool {
        let a = bytes.slice(Int(a.offset)..<Int(a.offset) + a.rawCount)
        let b = bytes.slice(Int(b.offset)..<Int(b.offset) + b.rawCount)
        return compare(a, b) == 0
    }
}
