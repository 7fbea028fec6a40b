import Fuse
import Logging
import SystemPackage

/// What an engine leaves of a session besides its connection: memory that somebody else holds, too, and that the next
/// engine starts from.
public struct SessionLegacy: Sendable {
    public let journal: SessionJournal
    public let requests: RequestTable

    /// Both files: memory as memfd_create(2) makes it, empty or left by an engine before. They are the caller's and must
    /// stay open. Throws EBADMSG where one holds something else.
    public init(journal: FileDescriptor, requests: FileDescriptor, logger: Logger) throws(Errno) {
        self.journal = try SessionJournal(descriptor: journal, logger: logger)
        self.requests = try RequestTable(file: requests)
    }
}
