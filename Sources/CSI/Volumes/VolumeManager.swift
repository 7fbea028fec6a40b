import CSIProtocol
import Glibc
import Logging
import NodeProtocol
import Threads

/// Publishes and unpublishes volumes. Every call blocks up to its deadlines; call it on a `BlockingPool`.
final class VolumeManager: Sendable {
    let sessions: SessionManager
    private let inFlight = InFlight()
    private let journal: PublicationJournal
    private let ambient: [String: String]
    private let logger: Logger

    /// `ambient`: secrets for volumes without any, outside Kubernetes.
    init(
        sessions: SessionManager, journal: PublicationJournal, ambient: [String: String] = [:], logger: Logger
    ) {
        self.ambient = ambient
        self.sessions = sessions
        self.journal = journal
        self.logger = logger
    }

    func publish(_ request: Csi_V1_NodePublishVolumeRequest) throws(Refusal) {
        let target = try PublishTarget(request)
        try inFlight.hold(volumeID: target.volumeID, target: target.path) { () throws(Refusal) in
            guard let place = try Place(target.path) else {
                throw Refusal(.notFound, "\(target.path): its parent directory does not exist")
            }
            switch try place.state() {
            case .absent: try place.makeDirectory()
            case .directory:
                guard try place.isEmpty() else {
                    throw Refusal(.failedPrecondition, "\(target.path) has files in it; a volume would hide them")
                }
            case .link: throw .invalid("\(target.path) is a symbolic link; a volume is never mounted through one")
            case .other: throw Refusal(.failedPrecondition, "\(target.path) is not a directory")
            case .mount(let device, let mountID):
                if try republish(request, target, device) { return }
                // What a dead session left is covered by a live one; a foreign mount is not ours to cover.
                guard try isOurs(mountID) else {
                    throw Refusal(.failedPrecondition, "something else is mounted at \(target.path); unmount it first")
                }
            }
            do throws(Refusal) {
                try checkExclusive(target)
                var content = try PublishContent(request, ambient: ambient)
                try sessions.findRevision(&content)
                try show(content, target, place)
            } catch {
                if case .directory? = try? place.state() { try? place.removeDirectory() }
                throw error
            }
        }
    }

    /// SINGLE_NODE_SINGLE_WRITER: one target at a time has the volume.
    private func checkExclusive(_ target: PublishTarget) throws(Refusal) {
        for other in sessions.publications(of: target.volumeID)
        where other.target != target.path && (other.isExclusive || target.isExclusive) {
            guard case .mount? = try? Place(other.target)?.state() else { continue }
            throw Refusal(
                .failedPrecondition,
                "volume \(Checks.quoted(target.volumeID)) is published at \(other.target), and its access mode lets one target have it; unpublish that first"
            )
        }
    }

    private func show(_ content: PublishContent, _ target: PublishTarget, _ place: Place) throws(Refusal) {
        let publication = Publication(
            volumeID: target.volumeID, target: target.path, sessionID: "", scope: content.spec.scope,
            isExclusive: target.isExclusive)
        let session = try sessions.acquire(content, publication)
        do throws(Refusal) {
            var publication = publication
            publication.sessionID = session.id
            // First the journal: a mount that it doesn't know of would be adopted, but without its volume's id.
            try journal.write(publication)
            try SessionMount(id: session.id, device: session.device)
                .bind(at: place, flags: content.flags, in: sessions.directory)
        } catch {
            journal.remove(target.path)
            sessions.release(target.path)
            throw error
        }
        logger.info(
            "published",
            metadata: ["volume": "\(target.volumeID)", "target": "\(target.path)", "session": "\(session.id)"])
    }

    /// True where the volume is live at the target: then it stays so, whatever is wrong with what came.
    private func republish(
        _ request: Csi_V1_NodePublishVolumeRequest, _ target: PublishTarget, _ device: Device
    ) throws(Refusal) -> Bool {
        guard let (session, publication) = sessions.published(at: target.path), session.device == device else {
            return false
        }
        if let before = publication.volumeID, before != target.volumeID {
            throw Refusal(.alreadyExists, "volume \(Checks.quoted(before)) is published at \(target.path)")
        }
        let content: PublishContent
        do throws(Refusal) {
            content = try PublishContent(request, ambient: ambient)
        } catch {
            // A kernel's mount is worth more than a republish: older kubelets remove it on an error.
            logger.warning(
                "the live mount stays, but its republish is wrong",
                metadata: ["volume": "\(target.volumeID)", "error": "\(error.message)"])
            return true
        }
        var view = content.spec
        view.scope = session.spec.scope
        // What a pod has seen it goes on to see, whatever is the newest by now.
        if let pointer = view.revision?.pointer, pointer == session.spec.revision?.pointer {
            view.revision = session.spec.revision
        }
        guard view == session.spec else {
            throw Refusal(
                .alreadyExists,
                "volume \(Checks.quoted(target.volumeID)) is published at \(target.path) with other attributes")
        }
        var renewed = publication
        renewed.volumeID = target.volumeID
        renewed.scope = content.spec.scope
        if renewed != publication {
            sessions.name(target.volumeID, at: target.path)
            try? journal.write(renewed)
        }
        sessions.refresh(content, for: target.path)
        return true
    }

    func unpublish(volumeID: String, targetPath: String) throws(Refusal) {
        try Checks.volumeID(volumeID)
        let path = try Checks.path(targetPath, "target_path")
        try inFlight.hold(volumeID: volumeID, target: path) { () throws(Refusal) in
            let known = sessions.publication(at: path)
            if let before = known?.volumeID, before != volumeID {
                throw Refusal(.notFound, "volume \(Checks.quoted(before)) is published at \(path), not this one")
            }
            if let place = try Place(path) {
                switch try place.state() {
                case .absent: break
                case .directory: try place.removeDirectory()
                case .link, .other:
                    throw Refusal(.failedPrecondition, "\(path) is not what this driver put there; remove it")
                case .mount(_, let mountID):
                    guard try isOurs(mountID) else {
                        throw Refusal(.failedPrecondition, "something else is mounted at \(path); unmount it")
                    }
                    try place.detachAll()
                    try place.removeDirectory()
                }
            }
            journal.remove(path)
            sessions.release(path)
            if known != nil { logger.info("unpublished", metadata: ["volume": "\(volumeID)", "target": "\(path)"]) }
        }
    }

    /// What is known of a published volume; nil where its session is lost, so that it must be published again.
    func statistics(volumeID: String, volumePath: String) throws(Refusal) -> SessionStatistics? {
        try Checks.volumeID(volumeID)
        guard !volumePath.isEmpty else { throw .invalid("volume_path is missing") }
        // A path that can't be a target is one where nothing is published.
        guard let path = try? Checks.path(volumePath, "volume_path") else {
            throw Refusal(
                .notFound,
                "volume \(Checks.quoted(volumeID)) is not published at \(Checks.quoted(volumePath)), which is no target's path"
            )
        }
        guard let publication = sessions.publication(at: path),
            publication.volumeID == nil || publication.volumeID == volumeID
        else { throw Refusal(.notFound, "volume \(Checks.quoted(volumeID)) is not published at \(path)") }
        guard let place = try Place(path), case .mount(let device, _) = try place.state() else {
            throw Refusal(.notFound, "volume \(Checks.quoted(volumeID)) is not mounted at \(path) any more")
        }
        guard let (session, _) = sessions.published(at: path), session.device == device else { return nil }
        return try sessions.statistics(session.id)
    }

    /// By the kernel's list: a mount of this driver, live or dead.
    private func isOurs(_ mountID: UInt64) throws(Refusal) -> Bool {
        try MountInfo.all().contains { $0.id == mountID && $0.fileSystem == Place.fileSystem }
    }
}
