import Glibc

/// One entry of a directory in 24 bytes; its name and ETag lie in the block's bytes.
struct Entry {
    var size: UInt64
    /// From low to high: modified (40 bits, signed), length of the name without "/" (8), flags (8), length of the ETag (8).
    private var packed: UInt64
    /// Of the name in the block's bytes; the ETag follows it.
    var offset: UInt32
    /// How often the kernel was told of this inode and has not forgotten it.
    var lookups: UInt32

    struct Flags: OptionSet {
        let rawValue: UInt8
        static let directory = Flags(rawValue: 1)
        static let archived = Flags(rawValue: 2)
        /// No longer (or not in this version) in the bucket; here only because the kernel knows it.
        static let gone = Flags(rawValue: 4)
        /// The kernel knows it from an engine before this one: `lookups` lacks what that one counted.
        static let restored = Flags(rawValue: 8)
        static let tagMD5 = Flags(rawValue: 16)
        static let tagParts = Flags(rawValue: 32)
    }

    init(
        size: UInt64, modified: Int64, nameCount: Int, flags: Flags, tagCount: Int, offset: Int, lookups: UInt32 = 0
    ) {
        let time = UInt64(bitPattern: max(min(modified, 1 << 39 - 1), -(1 << 39))) & (1 << 40 - 1)
        self.size = size
        packed = time | UInt64(nameCount) << 40 | UInt64(flags.rawValue) << 48 | UInt64(tagCount) << 56
        self.offset = UInt32(offset)
        self.lookups = lookups
    }

    var modified: Int64 { Int64(bitPattern: packed << 24) >> 24 }
    var nameCount: Int { Int(packed >> 40 & 0xff) }
    var tagCount: Int { Int(packed >> 56) }
    var flags: Flags {
        get { Flags(rawValue: UInt8(packed >> 48 & 0xff)) }
        set { packed = packed & ~(0xff << 48) | UInt64(newValue.rawValue) << 48 }
    }
    var isDirectory: Bool { flags.contains(.directory) }
    var isGone: Bool { flags.contains(.gone) }
    /// The kernel may ask for it by number.
    var isKnown: Bool { lookups > 0 || flags.contains(.restored) }
    var rawCount: Int { nameCount + (isDirectory ? 1 : 0) }
    var tagForm: EntryTag.Form { flags.contains(.tagMD5) ? .md5 : flags.contains(.tagParts) ? .parts : .text }
}

/// Up to some thousand neighbouring entries of a directory, packed: no entry has an allocation of its own.
/// In order of raw names ("name", or "name/" for a directory); among equal ones the one that is not gone is the first.
final class Block {
    static let maxCount = 1024

    let id: UInt32
    unowned let directory: Directory
    let count: Int
    /// Entries that the kernel knows.
    var known: Int
    /// Its files that are in the bucket, as it was made.
    let files: (count: Int, bytes: UInt64)
    let entries: UnsafeMutablePointer<Entry>
    private let bytes: UnsafeMutableRawPointer
    private let byteCount: Int

    init(id: UInt32, directory: Directory, entries source: ArraySlice<Entry>, bytes sourceBytes: Bytes) {
        self.id = id
        self.directory = directory
        count = source.count
        let first = Int(source.first!.offset)
        let last = source.last!
        byteCount = Int(last.offset) + last.rawCount + last.tagCount - first
        let memory = UnsafeMutableRawPointer.allocate(
            byteCount: count * MemoryLayout<Entry>.stride + byteCount, alignment: MemoryLayout<Entry>.alignment)
        entries = memory.bindMemory(to: Entry.self, capacity: count)
        bytes = memory + count * MemoryLayout<Entry>.stride
        known = 0
        var files = (count: 0, bytes: UInt64(0))
        var i = 0
        for var entry in source {
            entry.offset -= UInt32(first)
            if entry.isKnown { known += 1 }
            if !entry.isDirectory && !entry.isGone {
                files.count += 1
                files.bytes &+= entry.size
            }
            (entries + i).initialize(to: entry)
            i += 1
        }
        self.files = files
        bytes.copyMemory(from: sourceBytes.baseAddress! + first, byteCount: byteCount)
    }

    deinit { UnsafeMutableRawPointer(entries).deallocate() }

    /// What this costs, with malloc's share.
    var memory: Int { count * MemoryLayout<Entry>.stride + byteCount + 96 }

    @inline(__always)
    func raw(_ i: Int) -> Bytes { Bytes(start: bytes + Int(entries[i].offset), count: entries[i].rawCount) }

    func name(_ i: Int) -> Bytes { Bytes(start: bytes + Int(entries[i].offset), count: entries[i].nameCount) }

    func tag(_ i: Int) -> Bytes {
        Bytes(start: bytes + Int(entries[i].offset) + entries[i].rawCount, count: entries[i].tagCount)
    }

    func etag(_ i: Int) -> String { EntryTag.text(tag(i), entries[i].tagForm) }

    /// The first entry whose raw name is not before `raw`.
    func lowerBound(_ raw: Bytes) -> Int {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if compare(self.raw(middle), raw) < 0 { low = middle + 1 } else { high = middle }
        }
        return low
    }

    func nameHash(_ i: Int) -> UInt64 { EntryHash.name(directory.inode, raw(i)) }

    func inode(_ i: Int) -> InodeNumber { inode(i, nameHash(i)) }

    func inode(_ i: Int, _ nameHash: UInt64) -> InodeNumber {
        entries[i].isDirectory
            ? EntryHash.inode(directory: nameHash)
            : EntryHash.inode(
                file: nameHash, etag: tag(i), size: entries[i].size, modified: entries[i].modified)
    }
}
