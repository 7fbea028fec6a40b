import CLinux
import Glibc

/// Which blocks of one file are on disk, and their CRC32Cs: 5 bytes a block, in pages that take no memory while they
/// are zero. No I/O; guarded by its entry's lock.
final class BlockMap {
    enum State: UInt8 {
        case absent
        /// In the write queue.
        case queued
        /// On disk by the map's word; its bytes are compared with their CRC when they are read.
        case present
        /// Written, or read and found right, since the machine and the cache last started cleanly.
        case verified
    }

    let count: Int
    private let states: UnsafeMutablePointer<UInt8>
    private let checksums: UnsafeMutablePointer<UInt32>
    /// Blocks that are present or verified, and verified alone.
    private(set) var present = 0
    private(set) var verified = 0

    init(count: Int) {
        self.count = count
        guard let states = calloc(count, 1), let checksums = calloc(count, 4) else { fatalError("out of memory") }
        self.states = states.assumingMemoryBound(to: UInt8.self)
        self.checksums = checksums.assumingMemoryBound(to: UInt32.self)
    }

    deinit {
        free(states)
        free(checksums)
    }

    var isVerified: Bool { verified == count }

    subscript(block: Int) -> State {
        get {
            precondition(block >= 0 && block < count)
            return State(rawValue: states[block])!
        }
        set {
            let old = self[block]
            present += (newValue.isOnDisk ? 1 : 0) - (old.isOnDisk ? 1 : 0)
            verified += (newValue == .verified ? 1 : 0) - (old == .verified ? 1 : 0)
            states[block] = newValue.rawValue
        }
    }

    func checksum(_ block: Int) -> UInt32 {
        precondition(block >= 0 && block < count)
        return checksums[block]
    }

    func set(_ block: Int, _ state: State, checksum: UInt32) {
        self[block] = state
        checksums[block] = checksum
    }

    /// The first block from `start` on that is in `state`.
    func first(_ state: State, from start: Int) -> Int? {
        (start..<max(start, count)).first { states[$0] == state.rawValue }
    }
}

extension BlockMap.State {
    var isOnDisk: Bool { self == .present || self == .verified }
}

/// When every block of a file was verified, and what the file looked like then; all zero while a block isn't.
struct Verification: Equatable {
    var epoch = Epoch()
    var stamp = FileStamp()
}

/// What changes with any write to a file: who has damaged it since can't have kept all of these as they were.
struct FileStamp: Equatable {
    var inode: UInt64 = 0
    /// Nanoseconds since 1970.
    var modified: Int64 = 0
    var changed: Int64 = 0

    init() {}

    init(_ status: stat) {
        inode = UInt64(status.st_ino)
        modified = Int64(status.st_mtim.tv_sec) &* 1_000_000_000 &+ Int64(status.st_mtim.tv_nsec)
        changed = Int64(status.st_ctim.tv_sec) &* 1_000_000_000 &+ Int64(status.st_ctim.tv_nsec)
    }
}

/// The file beside the data: a header, then 8 bytes a block. All numbers are little-endian.
enum MapFile {
    static let headerBytes = 128
    static let recordBytes = 8
    private static let verificationBytes = 56..<56 + MemoryLayout<Verification>.size
    private static let magic: UInt64 = 0x3150_414d_4c4c_494d  // "MILLMAP1"

    static func offset(ofBlock block: Int) -> Int { headerBytes + block * recordBytes }

    static func header(_ digest: DiskDigest, size: UInt64, _ verification: Verification) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: headerBytes)
        bytes.withUnsafeMutableBytes { out in
            out.storeBytes(of: magic.littleEndian, as: UInt64.self)
            out.storeBytes(of: UInt64(DiskCache.blockBytes).littleEndian, toByteOffset: 8, as: UInt64.self)
            out.storeBytes(of: size.littleEndian, toByteOffset: 16, as: UInt64.self)
            withUnsafeBytes(of: digest) { out[24..<56].copyBytes(from: $0) }
            withUnsafeBytes(of: verification) { out[verificationBytes].copyBytes(from: $0) }
            let crc = clinux_crc32c(0, out.baseAddress, headerBytes - 4)
            out.storeBytes(of: crc.littleEndian, toByteOffset: headerBytes - 4, as: UInt32.self)
        }
        return bytes
    }

    /// What a header of this object says; nil where it isn't one.
    static func verification(
        inHeader bytes: UnsafeRawBufferPointer, _ digest: DiskDigest, size: UInt64
    ) -> Verification? {
        guard bytes.count >= headerBytes else { return nil }
        var found = Verification()
        withUnsafeMutableBytes(of: &found) { $0.copyBytes(from: bytes[verificationBytes]) }
        return bytes[..<headerBytes].elementsEqual(header(digest, size: size, found)) ? found : nil
    }

    /// A block's record: its CRC32C, then a check of that, the block's number and the object: a record that was torn,
    /// zeroed or moved is none. The check is never 0, so a hole in the file is none either.
    static func record(_ checksum: UInt32, block: Int, _ digest: DiskDigest) -> UInt64 {
        var fields = (digest.a, UInt64(block).littleEndian, UInt64(checksum).littleEndian)
        let check = withUnsafeBytes(of: &fields) { clinux_crc32c(0, $0.baseAddress, $0.count) }
        return UInt64(checksum) | UInt64(check == 0 ? 1 : check) << 32
    }

    /// The CRC32C in a record; nil where it isn't one of this block.
    static func checksum(inRecord value: UInt64, block: Int, _ digest: DiskDigest) -> UInt32? {
        let checksum = UInt32(truncatingIfNeeded: value)
        return value != 0 && value == record(checksum, block: block, digest) ? checksum : nil
    }
}
