import Namespace

/// What a session's successor starts from: the sum of its journal's records.
struct JournalState: Sendable, Equatable {
    var initRequest: [UInt8]?
    var inodes: [InodeNumber: InodeRecord] = [:]
    var files: [UInt64: JournalRecord.OpenFileRecord] = [:]
    var directories: [UInt64: JournalRecord.OpenDirectoryRecord] = [:]

    mutating func apply(_ record: JournalRecord) {
        switch record {
        case .initialized(let bytes): initRequest = bytes
        case .inode(let record): inodes[record.inode] = record
        case .forgotInode(let inode): inodes[inode] = nil
        case .file(let record): files[record.handle] = record
        case .closedFile(let handle): files[handle] = nil
        case .directory(let record): directories[record.handle] = record
        case .closedDirectory(let handle): directories[handle] = nil
        }
    }

    /// Records that sum up to this.
    func visitRecords(_ body: (JournalRecord) -> Void) {
        if let initRequest { body(.initialized(initRequest)) }
        for record in inodes.values { body(.inode(record)) }
        for record in files.values { body(.file(record)) }
        for record in directories.values { body(.directory(record)) }
    }
}
