import Glibc
import S3
import SystemPackage

/// A file under construction: `.NAME.millrace-part` beside its final name, with a record of the parts that are whole.
///
/// The record lies behind the object's bytes in the same file, so one rename, after the record is cut off, makes the
/// finished file: nothing half-written ever stands under the final name. A file of one part has no record.
///
/// Record: a line with the version's fingerprint and the machine's boot, then one byte a part (0 missing, 1 whole). After
/// another boot it isn't believed: the record may have reached the disk and the bytes not.
final class PartFile: @unchecked Sendable {
    static let partBytes: UInt64 = 8 << 20

    private(set) var descriptor: Int32 = -1
    /// Parts that no earlier run completed for this very version.
    private(set) var missing: [Int] = []
    /// Bytes of the others.
    private(set) var wholeBytes: UInt64 = 0
    private let item: CopyItem
    private let path: String
    private let finalPath: String
    private let partCount: Int
    private let header: [UInt8]

    /// Opens or resumes.
    init(_ item: CopyItem, at finalPath: String) throws(CopyError) {
        self.item = item
        self.finalPath = finalPath
        let slash = finalPath.lastIndex(of: "/")
        let directory = slash.map { String(finalPath[...$0]) } ?? ""
        let name = slash.map { String(finalPath[finalPath.index(after: $0)...]) } ?? finalPath
        // A name of 255 bytes has no room for our affixes; its tail alone is unique enough with its length.
        let short = name.utf8.count > 230 ? String(decoding: name.utf8.suffix(200), as: UTF8.self) : name
        path = "\(directory).\(short).millrace-part"
        partCount = Int((item.size + Self.partBytes - 1) / Self.partBytes)
        header =
            partCount > 1 ? Array("millrace-part 2 \(item.size) \(item.etag) \(Self.bootID)\n".utf8) : []
        descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o666)
        guard descriptor >= 0 else { throw CopyError(path: path, errno: Errno(rawValue: errno)) }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            end()
            throw CopyError(path: path, reason: "another copy is writing it")
        }
        if let record = readRecord() {
            missing = record.indices.filter { record[$0] != 1 }
        } else {
            missing = Array(0..<partCount)
            try begin()
        }
        wholeBytes = item.size - missing.reduce(0) { $0 + UInt64(range(of: $1).count) }
    }

    deinit { end() }

    /// Closes the file, and with it the lock against other copies. Call when no more writes can come.
    func end() {
        if descriptor >= 0 { close(descriptor) }
        descriptor = -1
    }

    /// The part's bytes in the object.
    func range(of part: Int) -> Range<UInt64> {
        if partCount == 1 { return 0..<item.size }
        let first = UInt64(part) * Self.partBytes
        return first..<min(first + Self.partBytes, item.size)
    }

    /// Writes a run of an object's bytes where they belong.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(CopyError) {
        var done = 0
        while done < bytes.count {
            let n = pwrite(descriptor, bytes.baseAddress! + done, bytes.count - done, off_t(offset) + off_t(done))
            if n < 0 && errno == EINTR { continue }
            guard n > 0 else { throw CopyError(path: path, errno: Errno(rawValue: errno)) }
            done += n
        }
    }

    /// Marks a part as whole for a later run.
    func completed(part: Int) throws(CopyError) {
        if partCount > 1 { try write([1], at: item.size + UInt64(header.count + part)) }
    }

    /// The file's digests, in the algorithms' order.
    func digests(_ algorithms: [Checksum.Algorithm]) throws(CopyError) -> [[UInt8]] {
        do throws(Errno) {
            return try FileDigest.compute(algorithms, of: descriptor, size: item.size)
        } catch {
            throw CopyError(path: path, errno: error)
        }
    }

    /// Cuts the record off, sets the modification time and gives the file its name.
    func finish() throws(CopyError) {
        if partCount > 1 { try check(ftruncate(descriptor, off_t(item.size))) }
        let time = timespec(tv_sec: Int(item.modified), tv_nsec: 0)
        _ = withUnsafePointer(to: (time, time)) { pair in
            pair.withMemoryRebound(to: timespec.self, capacity: 2) { futimens(descriptor, $0) }
        }
        try check(rename(path, finalPath))
    }

    /// Throws the unfinished file away (its version is gone).
    func discard() { unlink(path) }

    /// Empty, with room for all parts and a record that has none of them.
    private func begin() throws(CopyError) {
        try check(ftruncate(descriptor, 0))
        guard partCount > 1 else { return }
        try check(ftruncate(descriptor, off_t(item.size)))
        try write(header + Array(repeating: 0, count: partCount), at: item.size)
    }

    private func write(_ bytes: [UInt8], at offset: UInt64) throws(CopyError) {
        let result = bytes.withUnsafeBytes { raw in Result { () throws(CopyError) in try write(raw, at: offset) } }
        try result.get()
    }

    private func check(_ status: Int32) throws(CopyError) {
        if status != 0 { throw CopyError(path: path, errno: Errno(rawValue: errno)) }
    }

    private func readRecord() -> [UInt8]? {
        guard partCount > 1 else { return nil }
        var status = stat()
        let length = header.count + partCount
        guard fstat(descriptor, &status) == 0, UInt64(status.st_size) == item.size + UInt64(length) else { return nil }
        var record = [UInt8](repeating: 0, count: length)
        let n = record.withUnsafeMutableBytes { pread(descriptor, $0.baseAddress, length, off_t(item.size)) }
        guard n == length, record.starts(with: header) else { return nil }
        return Array(record.dropFirst(header.count))
    }

    private static let bootID: String = {
        let file = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return "unknown" }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 36)
        let n = read(file, &bytes, bytes.count)
        return n == bytes.count ? String(decoding: bytes, as: UTF8.self) : "unknown"
    }()
}
