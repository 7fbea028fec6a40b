import NodeProtocol

/// Which sessions there are, who uses them, and what a volume's new credentials mean for the others. No I/O.
struct SessionTable {
    struct Session: Equatable {
        var id: String
        /// With the scope of the credentials that it has now.
        var spec: SessionSpec
        var device: Device
        var connection: UInt32
        var targets: Set<String> = []
    }

    private(set) var sessions: [String: Session] = [:]
    private(set) var publications: [String: Publication] = [:]

    /// The session for a view, if one is live.
    func session(for spec: SessionSpec) -> Session? { sessions.values.first { $0.spec == spec } }

    func session(on device: Device) -> Session? { sessions.values.first { $0.device == device } }

    mutating func add(_ session: Session) { sessions[session.id] = session }

    /// Forgets a session; its targets' publications stay, to be told from foreign mounts.
    mutating func remove(_ id: String) { sessions[id] = nil }

    mutating func publish(_ publication: Publication) {
        unpublish(publication.target)
        publications[publication.target] = publication
        sessions[publication.sessionID]?.targets.insert(publication.target)
    }

    @discardableResult
    mutating func unpublish(_ target: String) -> Publication? {
        guard let publication = publications.removeValue(forKey: target) else { return nil }
        sessions[publication.sessionID]?.targets.remove(target)
        return publication
    }

    enum Rotation: Equatable {
        /// The session has these credentials' scope, or the volume says nothing new. Its keys may still be refreshed
        /// where the scope is the session's.
        case current
        /// Every volume of the session has moved on: so does the session.
        case all
        /// Others still come with the old ones. Two volumes must never read with each other's rights, so it waits.
        case waiting(others: Int)
    }

    /// A volume came again, with credentials of `scope`.
    ///
    /// A volume's pods have the same Secret, so what one of its targets comes with holds for all of them.
    mutating func present(_ scope: String, for target: String) -> Rotation {
        guard let publication = publications[target], let session = sessions[publication.sessionID] else {
            return .current
        }
        for other in session.targets {
            let isSameVolume =
                other == target
                || (publication.volumeID != nil && publications[other]?.volumeID == publication.volumeID)
            if isSameVolume { publications[other]?.scope = scope }
        }
        if scope == session.spec.scope { return .current }
        let others = session.targets.filter { publications[$0]?.scope != scope }.count
        return others == 0 ? .all : .waiting(others: others)
    }

    mutating func rotated(_ id: String, to scope: String) { sessions[id]?.spec.scope = scope }
}
