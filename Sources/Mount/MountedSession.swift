import Fuse
import Logging
import SystemPackage
import Threads

/// One mount that an engine serves.
public final class MountedSession: Sendable {
    public struct Status: Sendable, Equatable {
        public var source: String
        /// Nil where somebody else mounted.
        public var path: String?
        /// Inodes that are open.
        public var openFiles: Int
        public var requestsInFlight: Int
        /// Inodes that are known, and the memory that names and listings take.
        public var inodes: Int
        public var metadataBytes: Int
        public var hasPassthrough: Bool
        /// Nil while it is served.
        public var ending: Session.Ending?
    }

    public let description: SessionDescription
    public let path: String?
    /// Given once the kernel has ended the connection: the mount is gone, or aborted.
    public let ended: Promise<Session.Ending>
    let operations: SessionOperations
    let session: Session

    init(
        _ description: SessionDescription, path: String?, _ operations: SessionOperations, _ session: Session,
        ended: Promise<Session.Ending>
    ) {
        self.description = description
        self.path = path
        self.operations = operations
        self.session = session
        self.ended = ended
    }

    /// The bytes of FUSE_INIT, for a successor.
    public var initRequest: [UInt8] { session.exchange.request }
    /// The connection. Whoever shall outlive this engine holds a copy.
    public var descriptor: FileDescriptor { session.descriptor }

    public var status: Status {
        let counts = operations.fileSystem.namespace.counts
        return Status(
            source: description.source, path: path, openFiles: operations.modes.withLock { $0.count },
            requestsInFlight: session.requestsInFlight, inodes: counts.inodes, metadataBytes: counts.bytes,
            hasPassthrough: session.hasPassthrough, ending: ended.wait(until: .now))
    }

    /// The files that are known from listings, and their bytes.
    public var knownObjects: (count: Int, bytes: UInt64) { operations.fileSystem.namespace.knownObjects }

    /// Whose rights the bytes are cached under that are fetched from here on; those before are not used again.
    public func changeScope(_ scope: String) { operations.fileSystem.changeScope(scope) }
}
