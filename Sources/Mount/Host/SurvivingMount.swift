import Fuse
import Logging
import NodeProtocol
import S3
import SystemPackage
import Threads

/// The mount of a process that may be killed: a keeper holds what the next process goes on from.
public final class SurvivingMount: Sendable {
    private static let id = "mount"

    private let engine: Engine
    private let link: KeeperLink
    private let logger: Logger
    private let records = Locked<[SessionRecord]>([])

    /// Connects to the keeper at a socket, once it is there and no other process has what it holds.
    public init(_ engine: Engine, keeper: String, logger: Logger) throws {
        self.engine = engine
        self.logger = logger
        link = try KeeperLink(path: keeper, logger: logger) { [records] in records.withLock { $0 } }
    }

    /// Goes on with the mount that a process before has left at `path`; nil where none did. Throws `.busy` where what was
    /// left shows something else.
    public func takeOver(
        _ description: SessionDescription, store: any ObjectStore, at path: String
    ) throws -> MountedSession? {
        let path = MountPath.resolved(path)
        guard let left = try link.inherited().first else { return nil }
        guard let entry = MountTable.entry(at: path), entry.isMillrace, entry.connection == left.connection else {
            // Unmounted meanwhile.
            link.remove(Self.id)
            return nil
        }
        guard left.spec == SessionSpec(description) else {
            throw MountError(
                .busy, "\(entry.source) is mounted on \(path) in another way; unmount it: millrace unmount \(path)")
        }
        let session = try takeOver(left, description, store, path)
        link.watch()
        return session
    }

    /// Mounts, as `Engine.mount` does.
    public func mount(
        _ description: SessionDescription, store: any ObjectStore, at path: String, allowOther: Bool,
        root: (page: ListPage, sent: Instant)? = nil
    ) throws -> MountedSession {
        let session = try begin(description, store, MountPath.resolved(path), allowOther, root)
        link.watch()
        return session
    }

    private func takeOver(
        _ record: SessionRecord, _ description: SessionDescription, _ store: any ObjectStore, _ path: String
    ) throws -> MountedSession {
        let requests = try record.requests ?? Descriptor.memory("millrace-requests")
        let (session, unanswered) = try engine.adopt(
            description, store: store, descriptor: try record.device.duplicated(),
            legacy: try SessionLegacy(
                journal: FileDescriptor(rawValue: record.journal.raw),
                requests: FileDescriptor(rawValue: requests.raw), logger: logger), path: path)
        keep(record)
        if case .failed(let requests) = unanswered, !requests.isEmpty {
            logger.error(
                "The process before ended with requests under way, and this kernel (before 6.9) can't ask again: they failed.",
                metadata: ["requests": "\(requests.count)"])
        }
        return session
    }

    private func begin(
        _ description: SessionDescription, _ store: any ObjectStore, _ path: String, _ allowOther: Bool,
        _ root: (page: ListPage, sent: Instant)?
    ) throws -> MountedSession {
        let journal = try Descriptor.memory("millrace-journal")
        let requests = try Descriptor.memory("millrace-requests")
        let session = try engine.mount(
            description, store: store, at: path, allowOther: allowOther,
            legacy: try SessionLegacy(
                journal: FileDescriptor(rawValue: journal.raw), requests: FileDescriptor(rawValue: requests.raw),
                logger: logger), root: root)
        keep(
            SessionRecord(
                id: Self.id, spec: SessionSpec(description), connection: MountTable.entry(at: path)?.connection ?? 0,
                initExchange: session.initRequest, writtenBy: EngineHost.version,
                device: Descriptor(try session.descriptor.duplicate().rawValue),
                // The next process has the credentials from where this one has them.
                secrets: try SessionCredentials.anonymous.sealed(), journal: journal, requests: requests))
        return session
    }

    private func keep(_ record: SessionRecord) {
        records.withLock { $0 = [record] }
        link.put(record)
    }

    /// The mount is gone: nothing is left to keep.
    public func end() {
        records.withLock { $0 = [] }
        link.remove(Self.id)
        link.stop()
    }

    /// Has a keeper drop the mount of a process that is dead, so that it ends itself.
    public static func drop(keeper: String) {
        guard let client = try? KeeperClient(path: keeper) else { return }
        try? client.remove(id)
        client.end()
    }
}

extension SessionSpec {
    fileprivate init(_ description: SessionDescription) {
        self.init(
            bucket: description.bucket, prefix: "\(description.prefix)", metadataTTLMs: description.policy.ttlMs,
            uid: description.uid, gid: description.gid, fileMode: description.fileMode,
            directoryMode: description.directoryMode, scope: description.scope)
    }
}
