import Glibc
import S3
import SystemPackage

/// A file under construction: `.NAME.millrace-part` beside its final name, with a record of the parts that are whole.
///
/// The record lies behind the object's bytes in the same file, so one rename, after the record is cut off, makes the
/// finished file: nothing half-written ever stands under the final name.
///
/// Record: the version's fingerprint line, then one byte a part (0 missing, 1 whole).
final class PartFile: @unchecked Sendable {
    static let partBytes: UInt64 = 8 << 20

    private(set) var descriptor: Int32
    let partCount: Int
    private let item: CopyItem
    private let path: String
    private let finalPath: String
    private let header: [UInt8]

    /// Opens or resumes. `whole`: parts that an earlier run completed for this very version.
    init(_ item: CopyItem, at finalPath: String, whole: inout [Bool]) throws(CopyError) {
        self.item = item
        self.finalPath = finalPath
        let slash = finalPath.lastIndex(of: "/")
        let directory = slash.map { String(finalPath[...$0]) } ?? ""
        let name = slash.map { String(finalPath[finalPath.index(after: $0)...]) } ?? finalPath
        // A name of 255 bytes has no room for our affixes; its tail alone is unique enough with its length.
        let short = name.utf8.count > 230 ? String(decoding: name.utf8.suffix(200), as: UTF8.self) : name
        path = "\(directory).\(short).millrace-part"
        partCount = Int((item.size + Self.partBytes - 1) / Self.partBytes)
        header = Array("millrace-part 1 \(item.size) \(item.etag)\n".utf8)
        descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o666)
        guard descriptor >= 0 else { throw CopyError(path: path, errno: Errno(rawValue: errno)) }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            close(descriptor)
            throw CopyError(path: path, reason: "another copy is writing it")
        }
        whole = readRecord() ?? []
        if whole.count != partCount {
            whole = Array(repeating: false, count: partCount)
            try check(ftruncate(descriptor, 0))
            try check(ftruncate(descriptor, off_t(item.size)))
            try write(header, at: item.size)
            try write(Array(repeating: 0, count: partCount), at: item.size + UInt64(header.count))
        }
    }

    deinit { end() }

    /// Closes the file, and with it the lock against other copies. Call when no more writes can come.
    func end() {
        if descriptor >= 0 { close(descriptor) }
        descriptor = -1
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
        try write([1], at: item.size + UInt64(header.count + part))
    }

    /// Cuts the record off, sets the modification time and gives the file its name.
    func finish() throws(CopyError) {
        try check(ftruncate(descriptor, off_t(item.size)))
        let time = timespec(tv_sec: Int(item.modified), tv_nsec: 0)
        _ = withUnsafePointer(to: (time, time)) { pair in
            pair.withMemoryRebound(to: timespec.self, capacity: 2) { futimens(descriptor, $0) }
        }
        try check(rename(path, finalPath))
    }

    /// Throws the unfinished file away (its version is gone).
    func discard() { unlink(path) }

    private func write(_ bytes: [UInt8], at offset: UInt64) throws(CopyError) {
        let result = bytes.withUnsafeBytes { raw in Result { () throws(CopyError) in try write(raw, at: offset) } }
        try result.get()
    }

    private func check(_ status: Int32) throws(CopyError) {
        if status != 0 { throw CopyError(path: path, errno: Errno(rawValue: errno)) }
    }

    private func readRecord() -> [Bool]? {
        var status = stat()
        let length = header.count + partCount
        guard fstat(descriptor, &status) == 0, UInt64(status.st_size) == item.size + UInt64(length) else { return nil }
        var record = [UInt8](repeating: 0, count: length)
        let n = record.withUnsafeMutableBytes { pread(descriptor, $0.baseAddress, length, off_t(item.size)) }
        guard n == length, record.starts(with: header) else { return nil }
        return record.dropFirst(header.count).map { $0 == 1 }
    }
}

/// Why one file could not be copied.
public struct CopyError: Error, Sendable, CustomStringConvertible {
    public var path: String
    public var reason: String
    /// The disk is full or not writable: the other files will fare no better.
    public var isFatal: Bool

    init(path: String, reason: String, isFatal: Bool = false) {
        self.path = path
        self.reason = reason
        self.isFatal = isFatal
    }

    init(path: String, errno: Errno) {
        self.path = path
        reason = errno.description
        isFatal = [.noSpace, .diskQuotaExceeded, .readOnlyFileSystem, .ioError].contains(errno)
    }

    public var description: String { "\(path): \(reason)" }
}
