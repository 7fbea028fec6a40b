/// A session that the plugin has mounted and wants served.
public struct SessionOpening: Sendable {
    public var id: String
    public var spec: SessionSpec
    public var connection: UInt32
    public var device: Descriptor
    public var secrets: Descriptor

    public init(id: String, spec: SessionSpec, connection: UInt32, device: Descriptor, secrets: Descriptor) {
        self.id = id
        self.spec = spec
        self.connection = connection
        self.device = device
        self.secrets = secrets
    }
}

/// A session as its engine reports it.
public struct SessionReport: Sendable, Equatable {
    public var id: String
    public var spec: SessionSpec
    public var connection: UInt32
    /// Why it is not served any more; nil while it is.
    public var failure: String?

    public init(id: String, spec: SessionSpec, connection: UInt32, failure: String? = nil) {
        self.id = id
        self.spec = spec
        self.connection = connection
        self.failure = failure
    }
}

/// What is known of a dataset's size.
public struct SessionStatistics: Sendable, Equatable {
    public var bytes: UInt64
    public var objects: UInt64
    public init(bytes: UInt64, objects: UInt64) {
        self.bytes = bytes
        self.objects = objects
    }
}

/// What the engine is asked. `decode` and `frame` are each other's inverse.
public enum EngineRequest: Sendable {
    case ping
    case open(SessionOpening)
    /// New credentials for a live session, and the scope they belong to.
    case update(id: String, scope: String, secrets: Descriptor)
    case close(id: String)
    case sessions
    case statistics(id: String)
    /// Answer what is under way, leave the sessions to the keeper, then exit.
    case drain
    /// Which revision the spec's pointer leads to.
    case newestRevision(SessionSpec, secrets: Descriptor)

    enum Tag {
        static let id: UInt16 = 1
        static let spec: UInt16 = 2
        static let connection: UInt16 = 3
        static let scope: UInt16 = 4
        static let session: UInt16 = 5
        static let failure: UInt16 = 6
        static let bytes: UInt16 = 7
        static let objects: UInt16 = 8
        static let revision: UInt16 = 9
    }

    public var frame: Frame {
        var fields = Fields()
        switch self {
        case .ping: return Frame(.ping)
        case .open(let opening):
            fields.add(Tag.id, opening.id)
            fields.add(Tag.spec, opening.spec.fields)
            fields.add(Tag.connection, Int(opening.connection))
            return Frame(.open, fields, [opening.device, opening.secrets])
        case .update(let id, let scope, let secrets):
            fields.add(Tag.id, id)
            fields.add(Tag.scope, scope)
            return Frame(.update, fields, [secrets])
        case .close(let id):
            fields.add(Tag.id, id)
            return Frame(.close, fields)
        case .sessions: return Frame(.sessions)
        case .statistics(let id):
            fields.add(Tag.id, id)
            return Frame(.statistics, fields)
        case .drain: return Frame(.drain)
        case .newestRevision(let spec, let secrets):
            fields.add(Tag.spec, spec.fields)
            return Frame(.newestRevision, fields, [secrets])
        }
    }

    public init(_ frame: Frame) throws(NodeError) {
        let fields = frame.fields
        switch (frame.kind, frame.descriptors.count) {
        case (.ping, 0): self = .ping
        case (.open, 2):
            self = .open(
                SessionOpening(
                    id: try fields.required(Tag.id, "the session's id"),
                    spec: try SessionSpec(Fields(decoding: fields.bytes(Tag.spec) ?? [])),
                    connection: UInt32(truncatingIfNeeded: fields.number(Tag.connection) ?? 0),
                    device: frame.descriptors[0], secrets: frame.descriptors[1]))
        case (.update, 1):
            self = .update(
                id: try fields.required(Tag.id, "the session's id"),
                scope: try fields.required(Tag.scope, "the scope"), secrets: frame.descriptors[0])
        case (.close, 0): self = .close(id: try fields.required(Tag.id, "the session's id"))
        case (.sessions, 0): self = .sessions
        case (.statistics, 0): self = .statistics(id: try fields.required(Tag.id, "the session's id"))
        case (.drain, 0): self = .drain
        case (.newestRevision, 1):
            self = .newestRevision(
                try SessionSpec(Fields(decoding: fields.bytes(Tag.spec) ?? [])), secrets: frame.descriptors[0])
        default: throw .refused(.unsupported, "not a request to an engine: \(frame.kind)")
        }
    }
}

extension Frame {
    public static func sessions(_ sessions: [SessionReport]) -> Frame {
        var fields = Fields()
        for session in sessions {
            var one = Fields()
            one.add(EngineRequest.Tag.id, session.id)
            one.add(EngineRequest.Tag.spec, session.spec.fields)
            one.add(EngineRequest.Tag.connection, Int(session.connection))
            one.add(EngineRequest.Tag.failure, session.failure)
            fields.add(EngineRequest.Tag.session, one)
        }
        return Frame(.done, fields)
    }

    func sessions() throws(NodeError) -> [SessionReport] {
        var sessions: [SessionReport] = []
        for bytes in fields.all(EngineRequest.Tag.session) {
            let one = try Fields(decoding: bytes)
            sessions.append(
                SessionReport(
                    id: try one.required(EngineRequest.Tag.id, "a session's id"),
                    spec: try SessionSpec(Fields(decoding: one.bytes(EngineRequest.Tag.spec) ?? [])),
                    connection: UInt32(truncatingIfNeeded: one.number(EngineRequest.Tag.connection) ?? 0),
                    failure: one.text(EngineRequest.Tag.failure)))
        }
        return sessions
    }

    public static func statistics(_ statistics: SessionStatistics) -> Frame {
        var fields = Fields()
        fields.add(EngineRequest.Tag.bytes, Int(clamping: statistics.bytes))
        fields.add(EngineRequest.Tag.objects, Int(clamping: statistics.objects))
        return Frame(.done, fields)
    }

    public static func revision(_ id: String) -> Frame {
        var fields = Fields()
        fields.add(EngineRequest.Tag.revision, id)
        return Frame(.done, fields)
    }
}
