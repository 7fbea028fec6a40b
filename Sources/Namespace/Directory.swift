import Threads

/// What is known of one directory: its entries in blocks, and the stretches that are complete.
final class Directory {
    let inode: InodeNumber
    let parent: InodeNumber
    /// The prefix of its keys: empty, or with "/" at its end.
    let path: [UInt8]
    /// In order, none empty.
    var blocks: [Block] = []
    var ranges = KnownRanges()
    /// When the request was sent that last saw something in it, so that it was there.
    var existed = Instant(nanoseconds: 0)
    /// Lookups of single names that S3 was asked for since this directory was last listed.
    var singleLookups = 0
    /// Lookups of known names since it was last renewed; whether that is under way.
    var hits = 0
    var isRenewed = false

    // Least recently used first; nil ends the list.
    unowned(unsafe) var older: Directory?
    unowned(unsafe) var newer: Directory?
    var isLinked = false

    init(inode: InodeNumber, parent: InodeNumber, path: [UInt8]) {
        self.inode = inode
        self.parent = parent
        self.path = path
    }

    static let fixedMemory = 320

    struct Place: Equatable {
        var block: Int
        var index: Int
    }

    /// The block in which `raw` is or would be: the last one that starts at or before it.
    func blockIndex(for raw: Bytes) -> Int {
        var low = 0
        var high = blocks.count
        while low < high {
            let middle = (low + high) / 2
            if compare(blocks[middle].raw(0), raw) <= 0 { low = middle + 1 } else { high = middle }
        }
        return low - 1
    }

    /// The first entry at or after `position`, in a block if there is one.
    func place(from position: Bytes) -> Place {
        let block = blockIndex(for: position)
        guard block >= 0 else { return Place(block: 0, index: 0) }
        let index = blocks[block].lowerBound(position)
        return index < blocks[block].count ? Place(block: block, index: index) : Place(block: block + 1, index: 0)
    }

    func after(_ place: Place) -> Place {
        place.index + 1 < blocks[place.block].count
            ? Place(block: place.block, index: place.index + 1) : Place(block: place.block + 1, index: 0)
    }

    /// The entry with this raw name that is in the bucket, as far as is known.
    func find(_ raw: Bytes) -> (block: Block, index: Int)? {
        let at = blockIndex(for: raw)
        guard at >= 0 else { return nil }
        let block = blocks[at]
        let index = block.lowerBound(raw)
        guard index < block.count, !block.entries[index].isGone, compare(block.raw(index), raw) == 0 else { return nil }
        return (block, index)
    }

    /// Whether a directory of the same name hides the file at `place`; nil: that isn't known. `reach` is how far
    /// everything from the file on is known.
    func isShadowed(_ place: Place, reach: KnownRanges.Reach) -> Bool? {
        let name = blocks[place.block].raw(place.index)
        // Only names that go on with a byte below "/" lie between "a" and "a/"; nearly always there are none.
        var next = after(place)
        while next.block < blocks.count {
            let raw = blocks[next.block].raw(next.index)
            guard raw.count > name.count, raw.starts(with: name), raw[name.count] <= slash else {
                if compare(raw, name) == 0 {  // an older version
                    next = after(next)
                    continue
                }
                break
            }
            if raw[name.count] == slash { return !blocks[next.block].entries[next.index].isGone }
            return hasSibling(name, reach)
        }
        return knows(name, reach) ? false : nil
    }

    private func hasSibling(_ name: Bytes, _ reach: KnownRanges.Reach) -> Bool? {
        withRaw(name) { find($0) != nil } ? true : knows(name, reach) ? false : nil
    }

    /// Whether all that could be in the directory `name` lies within reach.
    func knows(_ name: Bytes, _ reach: KnownRanges.Reach) -> Bool {
        switch reach {
        case .none: false
        case .end: true
        case .until(let upper): isWithin(name, upper)
        }
    }

    /// Whether everything that starts with `name` and "/" lies before `upper`: `name` and "0" is not after it.
    private func isWithin(_ name: Bytes, _ upper: [UInt8]) -> Bool {
        upper.withUnsafeBytes { upper in
            guard upper.starts(with: name) else { return compare(upper, name) > 0 }
            return upper.count > name.count && upper[name.count] > slash
        }
    }
}

/// Calls back with `name` and "/".
func withRaw<Result>(_ name: Bytes, _ body: (Bytes) -> Result) -> Result {
    withUnsafeTemporaryAllocation(byteCount: name.count + 1, alignment: 1) { raw in
        raw.copyMemory(from: name)
        raw[name.count] = slash
        return body(Bytes(raw))
    }
}
