import CCrypto
import CLinux
import Glibc
import SystemPackage

/// The digest of a run of bytes, piece by piece.
struct Hasher: ~Copyable {
    private let algorithm: Checksum.Algorithm
    private let context: OpaquePointer?
    private var crc: UInt64 = 0

    init(_ algorithm: Checksum.Algorithm) {
        self.algorithm = algorithm
        let type: OpaquePointer? =
            switch algorithm {
            case .md5: EVP_md5()
            case .sha1: EVP_sha1()
            case .sha256: EVP_sha256()
            case .sha512: EVP_sha512()
            case .crc32, .crc32c, .crc64nvme: nil
            }
        context = type == nil ? nil : EVP_MD_CTX_new()
        if let context {
            let status = EVP_DigestInit_ex(context, type, nil)
            precondition(status == 1, "\(algorithm) isn't to be had")
        }
    }

    deinit { if let context { EVP_MD_CTX_free(context) } }

    mutating func add(_ bytes: UnsafeRawBufferPointer) {
        switch algorithm {
        case .crc32c: crc = UInt64(clinux_crc32c(UInt32(crc), bytes.baseAddress, bytes.count))
        case .crc32: crc = ReflectedCRC.crc32.update(crc, bytes)
        case .crc64nvme: crc = ReflectedCRC.crc64nvme.update(crc, bytes)
        default: EVP_DigestUpdate(context, bytes.baseAddress, bytes.count)
        }
    }

    consuming func finish() -> [UInt8] {
        let count = algorithm.byteCount
        guard let context else {
            return (0..<count).map { UInt8(truncatingIfNeeded: crc >> UInt64(8 * (count - 1 - $0))) }
        }
        var out = [UInt8](repeating: 0, count: count)
        EVP_DigestFinal_ex(context, &out, nil)
        return out
    }
}

/// CRCs whose bits go the other way round, eight bytes at a time.
struct ReflectedCRC: Sendable {
    static let crc32 = ReflectedCRC(polynomial: 0xEDB8_8320, mask: 0xFFFF_FFFF)
    static let crc64nvme = ReflectedCRC(polynomial: 0x9A6C_9329_AC4B_C9B5, mask: .max)

    /// tables[k][b]: what byte b does that is followed by k zero bytes.
    private let tables: [UInt64]
    private let mask: UInt64

    private init(polynomial: UInt64, mask: UInt64) {
        self.mask = mask
        var tables = [UInt64](repeating: 0, count: 8 * 256)
        for byte in 0..<256 {
            var value = UInt64(byte)
            for _ in 0..<8 { value = value & 1 == 1 ? value >> 1 ^ polynomial : value >> 1 }
            tables[byte] = value
        }
        for i in 256..<(8 * 256) { tables[i] = tables[i - 256] >> 8 ^ tables[Int(tables[i - 256] & 0xff)] }
        self.tables = tables
    }

    /// Goes on from `crc`, which is 0 at the start.
    func update(_ crc: UInt64, _ bytes: UnsafeRawBufferPointer) -> UInt64 {
        tables.withUnsafeBufferPointer { tables in
            var crc = crc ^ mask
            var i = 0
            while i + 8 <= bytes.count {
                let word = crc ^ UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: i, as: UInt64.self))
                crc = 0
                for k in 0..<8 { crc ^= tables[(7 - k) << 8 | Int(word >> UInt64(8 * k) & 0xff)] }
                i += 8
            }
            while i < bytes.count {
                crc = crc >> 8 ^ tables[Int((crc ^ UInt64(bytes[i])) & 0xff)]
                i += 1
            }
            return crc ^ mask
        }
    }
}

/// Digests of what a file holds.
enum FileDigest {
    /// Reads `size` bytes of an open file, and answers its digests in the algorithms' order.
    static func compute(
        _ algorithms: [Checksum.Algorithm], of descriptor: Int32, size: UInt64
    ) throws(Errno) -> [[UInt8]] {
        var digests: [[UInt8]] = []
        let chunk = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { chunk.deallocate() }
        for algorithm in algorithms {
            var hasher = Hasher(algorithm)
            var offset: UInt64 = 0
            while offset < size {
                let n = pread(
                    descriptor, chunk.baseAddress, Int(min(UInt64(chunk.count), size - offset)), off_t(offset))
                if n < 0 && errno == EINTR { continue }
                guard n > 0 else { throw n == 0 ? .ioError : Errno(rawValue: errno) }
                hasher.add(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(chunk)[..<n]))
                offset += UInt64(n)
            }
            digests.append(hasher.finish())
        }
        return digests
    }
}
