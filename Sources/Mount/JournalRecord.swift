import Namespace
import S3

/// One thing that a successor must know of a session.
enum JournalRecord: Sendable, Equatable {
    /// The bytes of FUSE_INIT.
    case initialized([UInt8])
    case inode(InodeRecord)
    case forgotInode(InodeNumber)
    case file(OpenFileRecord)
    case closedFile(UInt64)
    case directory(OpenDirectoryRecord)
    case closedDirectory(UInt64)

    struct OpenFileRecord: Sendable, Equatable {
        var handle: UInt64
        var inode: InodeNumber
        /// Of the OPEN.
        var unique: UInt64
        /// The kernel reads the file behind this id; 0: it asks us.
        var backing: Int32
        var version: FileVersion
    }
    struct OpenDirectoryRecord: Sendable, Equatable {
        var handle: UInt64
        var inode: InodeNumber
        var unique: UInt64
    }

    private enum Kind: UInt8 {
        case initialized = 1
        case inode, forgotInode, file, closedFile, directory, closedDirectory
    }

    var encoded: [UInt8] {
        var out = Writer()
        switch self {
        case .initialized(let bytes):
            out.put(Kind.initialized.rawValue)
            out.put(bytes)
        case .inode(let record):
            out.put(Kind.inode.rawValue)
            out.put(record.inode)
            out.put(record.parent)
            out.put(UInt8(record.isDirectory ? 1 : 0))
            out.put(record.name)
            out.put(record.size)
            out.put(record.modified)
            out.put(Array(record.etag.utf8))
            out.put(UInt8(record.isReadable ? 1 : 0))
        case .forgotInode(let inode):
            out.put(Kind.forgotInode.rawValue)
            out.put(inode)
        case .file(let record):
            out.put(Kind.file.rawValue)
            for value in [record.handle, record.inode, record.unique] { out.put(value) }
            out.put(record.backing)
            out.put(record.version.key.bytes)
            out.put(Array(record.version.etag.utf8))
            out.put(UInt8(record.version.versionID == nil ? 0 : 1))
            out.put(Array((record.version.versionID ?? "").utf8))
            out.put(record.version.size)
            out.put(UInt8(record.version.isReadable ? 1 : 0))
        case .closedFile(let handle):
            out.put(Kind.closedFile.rawValue)
            out.put(handle)
        case .directory(let record):
            out.put(Kind.directory.rawValue)
            for value in [record.handle, record.inode, record.unique] { out.put(value) }
        case .closedDirectory(let handle):
            out.put(Kind.closedDirectory.rawValue)
            out.put(handle)
        }
        return out.bytes
    }

    /// Nil for a kind that this version doesn't know, or bytes that end too early.
    init?(_ bytes: UnsafeRawBufferPointer) {
        var reader = Reader(bytes: bytes)
        guard let kind = reader.number(UInt8.self).flatMap(Kind.init) else { return nil }
        guard let record = JournalRecord(kind, &reader) else { return nil }
        self = record
    }

    private init?(_ kind: Kind, _ reader: inout Reader) {
        switch kind {
        case .initialized:
            guard let bytes = reader.array() else { return nil }
            self = .initialized(bytes)
        case .inode:
            guard let inode = reader.number(UInt64.self), let parent = reader.number(UInt64.self),
                let isDirectory = reader.number(UInt8.self), let name = reader.array(),
                let size = reader.number(UInt64.self), let modified = reader.number(Int64.self),
                let etag = reader.array(), let isReadable = reader.number(UInt8.self)
            else { return nil }
            self = .inode(
                InodeRecord(
                    inode: inode, parent: parent, isDirectory: isDirectory != 0, name: name, size: size,
                    modified: modified, etag: String(decoding: etag, as: UTF8.self), isReadable: isReadable != 0))
        case .file:
            guard let handle = reader.number(UInt64.self), let inode = reader.number(UInt64.self),
                let unique = reader.number(UInt64.self),
                let backing = reader.number(Int32.self), let key = reader.array(), let etag = reader.array(),
                let hasVersion = reader.number(UInt8.self), let version = reader.array(),
                let size = reader.number(UInt64.self), let isReadable = reader.number(UInt8.self)
            else { return nil }
            self = .file(
                OpenFileRecord(
                    handle: handle, inode: inode, unique: unique, backing: backing,
                    version: FileVersion(
                        key: ObjectKey(key), etag: String(decoding: etag, as: UTF8.self),
                        versionID: hasVersion != 0 ? String(decoding: version, as: UTF8.self) : nil, size: size,
                        isReadable: isReadable != 0)))
        case .directory:
            guard let handle = reader.number(UInt64.self), let inode = reader.number(UInt64.self),
                let unique = reader.number(UInt64.self)
            else { return nil }
            self = .directory(OpenDirectoryRecord(handle: handle, inode: inode, unique: unique))
        case .forgotInode, .closedFile, .closedDirectory:
            guard let number = reader.number(UInt64.self) else { return nil }
            switch kind {
            case .forgotInode: self = .forgotInode(number)
            case .closedFile: self = .closedFile(number)
            default: self = .closedDirectory(number)
            }
        }
    }
}

/// Numbers in host order, as no record leaves its machine; arrays with a u32 length before them.
private struct Writer {
    var bytes: [UInt8] = []

    mutating func put<T: FixedWidthInteger>(_ value: T) {
        withUnsafeBytes(of: value) { bytes.append(contentsOf: $0) }
    }
    mutating func put(_ array: [UInt8]) {
        put(UInt32(array.count))
        bytes += array
    }
}

private struct Reader {
    var bytes: UnsafeRawBufferPointer
    var offset = 0

    mutating func number<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type) -> T? {
        guard offset + MemoryLayout<T>.size <= bytes.count else { return nil }
        defer { offset += MemoryLayout<T>.size }
        return bytes.loadUnaligned(fromByteOffset: offset, as: T.self)
    }
    mutating func array() -> [UInt8]? {
        guard let count = number(UInt32.self), offset + Int(count) <= bytes.count else { return nil }
        defer { offset += Int(count) }
        return Array(bytes[offset..<offset + Int(count)])
    }
}
