import BlockCache
import FileSystem
import Fuse
import Glibc
import Logging
import Namespace
import Synchronization
import SystemPackage
import Threads

/// The cache answers a READ straight into the kernel.
extension ReadRequest: ReadReply {}

/// Answers the kernel's requests of one mount from its file system.
final class SessionOperations: Operations {
    let fileSystem: FileSystem
    let description: SessionDescription
    let metrics: OperationMetrics
    let journal: SessionJournal?
    let logger: Logger
    let invalidator: Invalidator
    let modes = Locked(OpenModes())
    let files = HandleTable<FileHandle>()
    let directories = HandleTable<DirectoryHandle>()

    /// Set once the connection is there, before the first request.
    private let connection = Locked<Session?>(nil)
    private let onEnd: @Sendable (Session.Ending) -> Void
    private let isEnded = Atomic<Bool>(false)
    private let isClosed = Atomic<Bool>(false)

    /// `onEnd` is called on a worker thread.
    init(
        _ fileSystem: FileSystem, _ description: SessionDescription, journal: SessionJournal?,
        metrics: OperationMetrics, invalidator: Invalidator, logger: Logger,
        onEnd: @escaping @Sendable (Session.Ending) -> Void
    ) {
        self.fileSystem = fileSystem
        self.description = description
        self.journal = journal
        self.metrics = metrics
        self.invalidator = invalidator
        self.logger = logger
        self.onEnd = onEnd
        fileSystem.namespace.journal = journal
        fileSystem.onStale = { [weak self] inode in self?.dropPages(of: inode) }
        fileSystem.onConsumed = { [weak self] inode, bytes in self?.dropPages(of: inode, bytes) }
    }

    /// Of one open file.
    final class FileHandle: Sendable {
        let file: OpenFile
        /// Of the OPEN; tells a repeated one from another.
        let unique: UInt64

        init(_ file: OpenFile, unique: UInt64) {
            self.file = file
            self.unique = unique
        }
    }

    final class DirectoryHandle: Sendable {
        let stream: DirectoryStream
        let unique: UInt64

        init(_ stream: DirectoryStream, unique: UInt64) {
            self.stream = stream
            self.unique = unique
        }
    }

    var session: Session? { connection.withLock { $0 } }
    func connect(_ session: Session) { connection.withLock { $0 = session } }

    var validity: Validity { Validity(entryMs: description.policy.ttlMs, attributesMs: description.policy.ttlMs) }

    func shown(_ attributes: Attributes) -> FileAttributes {
        FileAttributes(
            inode: attributes.inode,
            mode: attributes.isDirectory ? S_IFDIR | description.directoryMode : S_IFREG | description.fileMode,
            size: attributes.size, modified: attributes.modified, uid: description.uid, gid: description.gid)
    }

    func fileSystemStatistics(_ request: consuming Request) {
        let figures = fileSystem.statistics()
        request.reply(
            statistics: Fuse.FileSystemStatistics(
                blockBytes: figures.blockBytes, blocks: figures.blocks, freeBlocks: figures.freeBlocks,
                files: figures.inodes, freeFiles: 0, nameMax: figures.nameBytes))
    }

    // MARK: - Figures and the end

    func answered(_ answer: Answer) {
        metrics.answered(
            answer, session: description.source, key: fileSystem.namespace.key(of: answer.inode)?.description ?? "gone")
        if isEnded.load(ordering: .relaxed) { closeIfIdle() }
    }

    func ended(_ ending: Session.Ending) {
        isEnded.store(true, ordering: .sequentiallyConsistent)
        closeIfIdle()
        onEnd(ending)
    }

    /// Serves no more: closes what is open once the last request is answered. What the journal says of it stays, for
    /// who goes on.
    func end() {
        isEnded.store(true, ordering: .sequentiallyConsistent)
        closeIfIdle()
    }

    /// An open file must not be closed while it is read.
    private func closeIfIdle() {
        guard let session, session.requestsInFlight == 0,
            !isClosed.exchange(true, ordering: .acquiringAndReleasing)
        else { return }
        for (handle, _) in files.all {
            guard let file = files.remove(handle) else { continue }
            file.file.close()
        }
        for (handle, _) in directories.all { directories.remove(handle)?.stream.close() }
        // The session holds us.
        connection.withLock { $0 = nil }
    }

    /// Drops what the kernel has cached of a file: all of it where the pinned version of an open file is gone, as it is
    /// not to be had again. Opening the name again fails with ESTALE first, after which the kernel looks it up and finds
    /// the new version.
    private func dropPages(of inode: InodeNumber, _ bytes: Range<UInt64>? = nil) {
        invalidator.perform { [weak self] in
            guard let self, let session = self.session else { return }
            do throws(Errno) {
                try session.invalidate(inode: inode, bytes)
            } catch {
                self.logger.debug("The kernel dropped nothing.", metadata: ["inode": "\(inode)", "error": "\(error)"])
            }
        }
    }
}
