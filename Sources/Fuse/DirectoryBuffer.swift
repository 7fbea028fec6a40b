import Glibc

/// Fills the answer to one READDIR or READDIRPLUS with entries, in the kernel's format. Used by one thread at a time.
public final class DirectoryBuffer: @unchecked Sendable {
    private let memory: UnsafeMutableRawBufferPointer
    private var used = 0
    private let plus: Bool

    /// `count`: the room the kernel gives, in bytes. `plus`: entries with attributes.
    public init(count: Int, plus: Bool) {
        memory = .allocate(byteCount: max(count, 1), alignment: 8)
        self.plus = plus
    }

    deinit { memory.deallocate() }

    /// The inodes of which the kernel takes each as one more lookup.
    public var lookups: [UInt64] {
        guard plus else { return [] }
        var out: [UInt64] = []
        var place = 0
        while place < used {
            let inode = memory.loadUnaligned(fromByteOffset: place, as: UInt64.self)
            if inode != 0 { out.append(inode) }
            let nameBytes = memory.loadUnaligned(fromByteOffset: place + Self.entryBytes + 16, as: UInt32.self)
            place += length(nameBytes: Int(nameBytes))
        }
        return out
    }

    /// The entries so far.
    public var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: memory[0..<used]) }
    public var isEmpty: Bool { used == 0 }

    private static let direntBytes = 24
    private static let entryBytes = 128

    /// Whether an entry with a name of so many bytes fits in.
    public func hasRoom(nameBytes: Int) -> Bool { used + length(nameBytes: nameBytes) <= memory.count }

    private func length(nameBytes: Int) -> Int {
        ((plus ? Self.entryBytes : 0) + Self.direntBytes + nameBytes + 7) & ~7
    }

    /// Adds an entry; false, and nothing is added, where it doesn't fit. `nextCookie`: where a later read goes on.
    ///
    /// In a `plus` buffer the kernel takes every entry as one more lookup of its inode, but for "." and "..".
    public func add(
        name: UnsafeRawBufferPointer, _ attributes: FileAttributes, _ validity: Validity, nextCookie: UInt64
    ) -> Bool {
        guard hasRoom(nameBytes: name.count) else { return false }
        let length = length(nameBytes: name.count)
        let head = (plus ? Self.entryBytes : 0) + Self.direntBytes
        let base = memory.baseAddress! + used
        if plus { putEntry(base, attributes, validity, isDot: Self.isDot(name)) }
        let dirent = base + head - Self.direntBytes
        dirent.storeBytes(of: attributes.inode, as: UInt64.self)
        dirent.storeBytes(of: nextCookie, toByteOffset: 8, as: UInt64.self)
        dirent.storeBytes(of: UInt32(name.count), toByteOffset: 16, as: UInt32.self)
        dirent.storeBytes(of: (attributes.mode & S_IFMT) >> 12, toByteOffset: 20, as: UInt32.self)
        memset(base + length - 8, 0, 8)
        if let source = name.baseAddress { memcpy(dirent + Self.direntBytes, source, name.count) }
        used += length
        return true
    }

    /// "." and ".."
    public static func isDot(_ name: UnsafeRawBufferPointer) -> Bool {
        (name.count == 1 && name[0] == 0x2e) || (name.count == 2 && name[0] == 0x2e && name[1] == 0x2e)
    }

    /// struct fuse_entry_out. An inode number of 0 tells the kernel to make nothing of it.
    private func putEntry(
        _ base: UnsafeMutableRawPointer, _ attributes: FileAttributes, _ validity: Validity, isDot: Bool
    ) {
        memset(base, 0, Self.entryBytes)
        if isDot { return }
        func put<T: FixedWidthInteger>(_ value: T, _ offset: Int) {
            base.storeBytes(of: value, toByteOffset: offset, as: T.self)
        }
        put(attributes.inode, 0)
        let entryMs = UInt64(min(max(validity.entryMs, 0), 1_000_000_000_000))
        let attributesMs = UInt64(min(max(validity.attributesMs, 0), 1_000_000_000_000))
        put(entryMs / 1000, 16)
        put(attributesMs / 1000, 24)
        put(UInt32(entryMs % 1000) * 1_000_000, 32)
        put(UInt32(attributesMs % 1000) * 1_000_000, 36)
        let body = 40
        put(attributes.inode, body)
        put(attributes.size, body + 8)
        put(attributes.size / 512 + (attributes.size % 512 == 0 ? 0 : 1), body + 16)
        for time in 0..<3 { put(attributes.modified, body + 24 + time * 8) }
        put(attributes.mode, body + 60)
        put(UInt32(1), body + 64)
        put(attributes.uid, body + 68)
        put(attributes.gid, body + 72)
        put(FileAttributes.blockBytes, body + 80)
    }
}
