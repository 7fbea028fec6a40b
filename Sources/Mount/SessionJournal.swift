import CLinux
import Fuse
import Glibc
import Logging
import Namespace
import SystemPackage
import Threads

/// What a session's successor must know, written down as it happens into memory that outlives this process: the
/// handshake, the inodes that the kernel knows, the files and directories it has open.
///
/// The file (a memfd that somebody else holds, too) is a log: a header with the place where it begins, then records,
/// each with its length and a checksum that covers its place. A writer that is killed in the middle of a record leaves
/// one that doesn't check, which ends the log; nothing before it is ever changed. Where most of the log is of the past,
/// what holds now is written behind it, the beginning is moved there, and the memory before is given back.
public final class SessionJournal: @unchecked Sendable {
    private static let magic: UInt64 = 0x314c_4e4a_4c4c_494d  // "MILLJNL1"
    private static let headerBytes = 4096
    private static let startOffset = 8
    /// u32 length, u32 checksum
    private static let frameBytes = 8
    private static let maxRecordBytes = 64 << 10
    /// A log this short is never rewritten.
    private static let smallBytes = 1 << 20

    private let descriptor: FileDescriptor
    private let logger: Logger
    private let lock = Lock()
    // Under the lock.
    private var start: Int
    private var end: Int
    /// Bytes of the log when it was last rewritten.
    private var snapshotBytes: Int
    private var isBroken = false
    private var isSealed = false

    /// What an engine before has left; empty in a new journal.
    let inherited: JournalState

    /// Whether there is a session to take over.
    public var isEmpty: Bool { inherited.initRequest == nil }

    /// `descriptor`: memory to write to, as memfd_create(2) makes it, empty for a new journal. The journal doesn't close
    /// it. Throws EBADMSG where it holds something else, or what a version wrote that this one can't read.
    public init(descriptor: FileDescriptor, logger: Logger) throws(Errno) {
        self.descriptor = descriptor
        self.logger = logger
        var status = stat()
        guard fstat(descriptor.rawValue, &status) == 0 else { throw Errno(rawValue: errno) }
        var state = JournalState()
        if status.st_size == 0 || Self.isHeaderAlone(descriptor, Int(status.st_size)) {
            start = Self.headerBytes
            end = start
        } else {
            (start, end) = try Self.load(descriptor, Int(status.st_size), into: &state)
        }
        snapshotBytes = end - start
        inherited = state
        if status.st_size == 0 { try writeHeader() }
    }

    /// A journal in which nothing was written yet.
    private static func isHeaderAlone(_ descriptor: FileDescriptor, _ size: Int) -> Bool {
        var word: UInt64 = 0
        return size < headerBytes && pread(descriptor.rawValue, &word, 8, 0) == 8 && word == magic
    }

    private static func load(
        _ descriptor: FileDescriptor, _ size: Int, into state: inout JournalState
    ) throws(Errno) -> (Int, Int) {
        guard size >= headerBytes, let memory = mmap(nil, size, PROT_READ, MAP_SHARED, descriptor.rawValue, 0),
            memory != MAP_FAILED
        else { throw .badMessage }
        defer { munmap(memory, size) }
        let bytes = UnsafeRawBufferPointer(start: memory, count: size)
        let start = bytes.loadUnaligned(fromByteOffset: startOffset, as: UInt64.self)
        guard bytes.loadUnaligned(as: UInt64.self) == magic, start >= headerBytes, start <= size else {
            throw .badMessage
        }
        var place = Int(start)
        while place + frameBytes <= size {
            let length = Int(bytes.loadUnaligned(fromByteOffset: place, as: UInt32.self))
            let sum = bytes.loadUnaligned(fromByteOffset: place + 4, as: UInt32.self)
            guard length > 0, length <= maxRecordBytes, place + frameBytes + length <= size else { break }
            let payload = UnsafeRawBufferPointer(rebasing: bytes[(place + frameBytes)..<(place + frameBytes + length)])
            guard checksum(payload, place) == sum else { break }
            // A kind that isn't known is of a later version, which says by another magic what can't be left out.
            if let record = JournalRecord(payload) { state.apply(record) }
            place += frameBytes + length
        }
        return (Int(start), place)
    }

    /// FNV-1a over the record's place and bytes: against halves and leftovers, not against malice.
    private static func checksum(_ bytes: UnsafeRawBufferPointer, _ place: Int) -> UInt32 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325 ^ UInt64(place)
        for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return UInt32(truncatingIfNeeded: hash ^ hash >> 32)
    }

    private func writeHeader() throws(Errno) {
        var header = [Self.magic, UInt64(start)]
        guard pwrite(descriptor.rawValue, &header, 16, 0) == 16 else { throw Errno(rawValue: errno) }
    }

    // MARK: - Writing

    func append(_ record: JournalRecord) {
        lock.withLock {
            guard !isSealed else { return }
            write([record.encoded])
            guard !isBroken, end - start > max(Self.smallBytes, 2 * snapshotBytes) else { return }
            compact()
        }
    }

    /// Nothing is written from here on: another engine may have taken the journal over.
    func seal() { lock.withLock { isSealed = true } }

    /// Under the lock. One that can't write loses the takeover, not the mount.
    private func write(_ records: [[UInt8]]) {
        guard !isBroken else { return }
        var out: [UInt8] = []
        for record in records {
            let sum = record.withUnsafeBytes { Self.checksum($0, end + out.count) }
            withUnsafeBytes(of: UInt32(record.count)) { out.append(contentsOf: $0) }
            withUnsafeBytes(of: sum) { out.append(contentsOf: $0) }
            out += record
        }
        guard pwrite(descriptor.rawValue, out, out.count, off_t(end)) == out.count else {
            isBroken = true
            logger.error(
                "The session's journal can't be written; open files will not survive this process.",
                metadata: ["error": "\(Errno(rawValue: errno))"])
            return
        }
        end += out.count
    }

    /// Under the lock. Killed at any point, it leaves a log that says the same: what it repeats is repeated only.
    private func compact() {
        var state = JournalState()
        guard (try? Self.load(descriptor, end, into: &state)) != nil else {
            isBroken = true
            return
        }
        let oldStart = start
        let newStart = end
        var batch: [[UInt8]] = []
        state.visitRecords { record in
            batch.append(record.encoded)
            if batch.count == 1024 {
                write(batch)
                batch = []
            }
        }
        write(batch)
        guard !isBroken else { return }
        start = newStart
        snapshotBytes = end - start
        do throws(Errno) {
            try writeHeader()
        } catch {
            isBroken = true
            return
        }
        // Whole pages only; the beginning of the log's first page stays.
        let first = (oldStart + 4095) & ~4095
        let last = start & ~4095
        if last > first { _ = clinux_punch_hole(descriptor.rawValue, first, last - first) }
    }

    /// Bytes of the log, for figures and tests.
    var logBytes: Int { lock.withLock { end - start } }
}

extension Errno {
    fileprivate static var badMessage: Errno { Errno(rawValue: Glibc.EBADMSG) }
}

extension SessionJournal: InodeJournal {
    public func added(_ record: InodeRecord) { append(.inode(record)) }
    public func forgot(_ inode: InodeNumber) { append(.forgotInode(inode)) }
}

extension SessionJournal {
    func initialized(_ exchange: InitExchange) { append(.initialized(exchange.request)) }

    func opened(_ handle: UInt64, _ value: SessionOperations.FileHandle, mode: OpenModes.Mode) {
        var backing: Int32 = 0
        if case .passthrough(let id) = mode { backing = id }
        append(
            .file(
                JournalRecord.OpenFileRecord(
                    handle: handle, inode: value.file.inode, unique: value.unique, backing: backing,
                    version: value.file.version)))
    }
    func closed(_ handle: UInt64) { append(.closedFile(handle)) }

    func openedDirectory(_ handle: UInt64, inode: InodeNumber, unique: UInt64) {
        append(.directory(JournalRecord.OpenDirectoryRecord(handle: handle, inode: inode, unique: unique)))
    }
    func closedDirectory(_ handle: UInt64) { append(.closedDirectory(handle)) }

}
