/// Inode numbers and cookies are hashes, so that they need no memory: what was forgotten and is found again has the same.
enum EntryHash {
    /// Of an entry's name in one directory; `raw` has the "/" of a directory.
    static func name(_ directory: InodeNumber, _ raw: Bytes) -> UInt64 {
        finish(absorb(raw, directory ^ 0x9e37_79b9_7f4a_7c15), raw.count)
    }

    /// A directory's number depends on its path alone.
    static func inode(directory name: UInt64) -> InodeNumber { usable(name) }

    /// A file's number is its version's: the kernel never mixes pages or sizes of two versions of an object.
    static func inode(file name: UInt64, etag: Bytes, size: UInt64, modified: Int64) -> InodeNumber {
        // Without an ETag, time and size are all there is to tell versions by.
        let seed = mix(name ^ size, 0xd6e8_feb8_6659_fd93) &+ (etag.isEmpty ? UInt64(bitPattern: modified) : 0)
        return usable(finish(absorb(etag, seed), etag.count))
    }

    /// A directory stream's position after the entry: positive as a signed number, above those of "." and "..".
    static func cookie(_ name: UInt64) -> UInt64 { max(name >> 1, 16) }

    /// 0 is no inode and 1 the root.
    private static func usable(_ hash: UInt64) -> InodeNumber { max(hash, 16) }

    private static func absorb(_ bytes: Bytes, _ seed: UInt64) -> UInt64 {
        var hash = seed
        var i = 0
        while i + 8 <= bytes.count {
            hash =
                mix(hash ^ bytes.loadUnaligned(fromByteOffset: i, as: UInt64.self), 0xa076_1d64_78bd_642f)
                &+ 0xe703_7ed1_a0b4_28db
            i += 8
        }
        var tail: UInt64 = 0
        var shift: UInt64 = 0
        while i < bytes.count {
            tail |= UInt64(bytes[i]) << shift
            shift += 8
            i += 1
        }
        return mix(hash ^ tail, 0x8ebc_6af0_9c88_c6e3) &+ 0x5899_65cc_7537_4cc3
    }

    private static func finish(_ hash: UInt64, _ count: Int) -> UInt64 {
        mix(hash ^ UInt64(count), 0x1d8e_4e27_c47d_124f)
    }

    @inline(__always)
    private static func mix(_ a: UInt64, _ b: UInt64) -> UInt64 {
        let product = a.multipliedFullWidth(by: b)
        return product.high ^ product.low ^ a.byteSwapped
    }
}
