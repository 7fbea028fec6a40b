import Threads

/// All that is known of the tree. Not safe to share: `Namespace` holds its lock around every call.
final class Table {
    private(set) var directories: [InodeNumber: Directory] = [:]
    let root: Directory
    var index = InodeIndex()
    private var blocks: [Unmanaged<Block>?] = [nil]
    private var freeBlocks: [UInt32] = []
    private var oldest: Directory?
    private var newest: Directory?
    /// Of blocks, ranges and directories.
    private(set) var bytes = 0
    /// Files in the bucket, as far as they are known.
    private(set) var files = (count: 0, bytes: UInt64(0))
    var maxBytes: Int
    var journal: JournalQueue?
    var merge = MergeBuffer()

    init(prefix: [UInt8], maxBytes: Int) {
        root = Directory(inode: rootInode, parent: rootInode, path: prefix)
        directories[rootInode] = root
        // Below this a listing's pages would be dropped before anybody read them.
        self.maxBytes = max(maxBytes, 8 << 20)
        bytes = Directory.fixedMemory
    }

    var memory: Int { bytes + index.memory }

    // MARK: Directories

    /// A directory by number, if the kernel knows it or something in it is known.
    func directory(_ inode: InodeNumber) -> Directory? {
        if let found = directories[inode] { return found }
        guard let (block, i) = entry(inode), block.entries[i].isDirectory else { return nil }
        return child(block.raw(i), of: block.directory)
    }

    /// The directory `raw` ("name/") in another. Nil: another path has the same number, so it can't be shown.
    func child(_ raw: Bytes, of parent: Directory) -> Directory? {
        let inode = EntryHash.inode(directory: EntryHash.name(parent.inode, raw))
        if let found = directories[inode] {
            guard found.parent == parent.inode, found.path.count == parent.path.count + raw.count,
                found.path.withUnsafeBytes({ compare($0.slice(parent.path.count..<$0.count), raw) == 0 })
            else { return nil }
            return found
        }
        var path = [UInt8]()
        path.reserveCapacity(parent.path.count + raw.count)
        path.append(contentsOf: parent.path)
        path.append(contentsOf: raw)
        return add(Directory(inode: inode, parent: parent.inode, path: path))
    }

    /// The directories on the way to `position`, as far as something in them is known.
    func known(along position: [UInt8], from root: Directory) -> [Directory] {
        position.withUnsafeBytes { position in
            var out: [Directory] = []
            var directory = root
            var start = 0
            while let end = position[start...].firstIndex(of: slash) {
                let raw = position.slice(start..<end + 1)
                let inode = EntryHash.inode(directory: EntryHash.name(directory.inode, raw))
                guard directories[inode] != nil, let next = child(raw, of: directory) else { break }
                out.append(next)
                directory = next
                start = end + 1
            }
            return out
        }
    }

    /// The directory of an open stream again, where it was dropped meanwhile.
    func directory(_ inode: InodeNumber, parent: InodeNumber, path: [UInt8]) -> Directory {
        directories[inode] ?? add(Directory(inode: inode, parent: parent, path: path))
    }

    private func add(_ directory: Directory) -> Directory {
        directories[directory.inode] = directory
        bytes += Directory.fixedMemory + directory.path.count
        touch(directory)
        return directory
    }

    private func drop(_ directory: Directory) {
        unlink(directory)
        guard directory.inode != rootInode else { return }
        bytes -= Directory.fixedMemory + directory.path.count
        directories[directory.inode] = nil
    }

    /// Notes that the directory, and so all those above it, was there at `time`.
    func saw(_ directory: Directory, at time: Instant) {
        var directory = directory
        while directory.existed < time {
            directory.existed = time
            guard let parent = directories[directory.parent] else { return }
            directory = parent
        }
    }

    // MARK: Blocks

    func block(_ id: UInt32) -> Block? { Int(id) < blocks.count ? blocks[Int(id)]?.takeUnretainedValue() : nil }

    func makeBlock(_ directory: Directory, _ entries: ArraySlice<Entry>, _ bytes: Bytes) -> Block {
        let id = freeBlocks.popLast() ?? UInt32(blocks.count)
        let block = Block(id: id, directory: directory, entries: entries, bytes: bytes)
        if Int(id) == blocks.count { blocks.append(nil) }
        blocks[Int(id)] = .passUnretained(block)
        self.bytes += block.memory
        files = (files.count + block.files.count, files.bytes &+ block.files.bytes)
        return block
    }

    /// The block itself goes with the last reference of its directory.
    func freeBlock(_ block: Block) {
        bytes -= block.memory
        files = (files.count - block.files.count, files.bytes &- block.files.bytes)
        blocks[Int(block.id)] = nil
        freeBlocks.append(block.id)
    }

    func changeRanges(_ directory: Directory, _ change: (inout KnownRanges) -> Void) {
        bytes -= directory.ranges.memory
        change(&directory.ranges)
        bytes += directory.ranges.memory
    }

    // MARK: Inodes

    func inode(at location: Location) -> InodeNumber { block(location.block)?.inode(Int(location.index)) ?? 0 }

    /// The entry that the kernel knows by this number.
    func entry(_ inode: InodeNumber) -> (block: Block, index: Int)? {
        let found = index.find(inode) { self.inode(at: $0) == inode }
        guard let found, let block = block(found.block) else { return nil }
        return (block, Int(found.index))
    }

    /// Counts one lookup. False: another entry has the same number, so this one can't be shown.
    func addLookup(_ block: Block, _ i: Int, _ inode: InodeNumber) -> Bool {
        if !block.entries[i].isKnown {
            if index.find(inode, where: { self.inode(at: $0) == inode }) != nil { return false }
            index.insert(inode, Location(block: block.id, index: UInt16(i))) { self.inode(at: $0) }
            block.known += 1
            journal?.added(block, i, inode)
        }
        if block.entries[i].lookups < .max { block.entries[i].lookups += 1 }
        return true
    }

    func forget(_ inode: InodeNumber, _ lookups: UInt64) {
        guard let (block, i) = entry(inode) else { return }
        let counted = UInt64(block.entries[i].lookups)
        // The kernel forgets all at once, except for single answers that it dropped. More than was counted here, where an
        // engine before this one counted too, must be all.
        if lookups < counted || (lookups == counted && block.entries[i].flags.contains(.restored)) {
            block.entries[i].lookups -= UInt32(lookups)
            return
        }
        block.entries[i].lookups = 0
        block.entries[i].flags.remove(.restored)
        block.known -= 1
        index.remove(inode, Location(block: block.id, index: UInt16(i))) { self.inode(at: $0) }
        journal?.forgot(inode)
        if !block.directory.isLinked { link(block.directory) }
    }

    // MARK: What is dropped first

    func touch(_ directory: Directory) {
        guard newest !== directory else { return }
        unlink(directory)
        link(directory)
    }

    private func link(_ directory: Directory) {
        directory.older = newest
        newest?.newer = directory
        newest = directory
        if oldest == nil { oldest = directory }
        directory.isLinked = true
    }

    private func unlink(_ directory: Directory) {
        guard directory.isLinked else { return }
        directory.older?.newer = directory.newer
        directory.newer?.older = directory.older
        if oldest === directory { oldest = directory.newer }
        if newest === directory { newest = directory.older }
        directory.older = nil
        directory.newer = nil
        directory.isLinked = false
    }

    /// Drops what nobody refers to, a little at a time, until the rest fits.
    func trim() {
        var steps = 16
        while memory > maxBytes, steps > 0, let directory = oldest {
            steps -= 1
            trim(directory)
        }
    }

    /// One block of it, or all of what is left when nothing more can go.
    private func trim(_ directory: Directory) {
        // The last blocks of the directory in use are those that its reader waits for.
        let spared = directory === newest ? min(32, directory.blocks.count) : 0
        for (i, block) in directory.blocks.dropLast(spared).enumerated() where block.known < block.count {
            let next = i + 1 < directory.blocks.count ? Array(directory.blocks[i + 1].raw(0)) : nil
            let first = i == 0 ? [] : Array(block.raw(0))
            changeRanges(directory) { $0.remove(first, next) }
            keepKnown(directory, i)
            return
        }
        if directory.blocks.isEmpty {
            changeRanges(directory) { $0.removeAll() }
            drop(directory)
        } else if spared > 0 {
            // Nothing but the directory in use: let it be, for now.
            unlink(directory)
            link(directory)
        } else {
            // All of it is known to the kernel: a forget puts it back.
            unlink(directory)
        }
    }
}
