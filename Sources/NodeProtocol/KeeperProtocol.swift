import Threads

/// What the keeper holds under a name: bytes and descriptors, each with a role, that mean nothing to it. So a keeper
/// never needs an upgrade when an engine does.
public struct KeptItem: Sendable {
    public var name: String
    public var payload: [UInt8]
    public var descriptors: [(role: String, descriptor: Descriptor)]

    public init(name: String, payload: [UInt8], descriptors: [(role: String, descriptor: Descriptor)]) {
        self.name = name
        self.payload = payload
        self.descriptors = descriptors
    }

    private enum Tag {
        static let name: UInt16 = 1
        static let payload: UInt16 = 2
        static let role: UInt16 = 3
    }

    public func frame(_ kind: Frame.Kind) -> Frame {
        var fields = Fields()
        fields.add(Tag.name, name)
        fields.add(Tag.payload, payload)
        for (role, _) in descriptors { fields.add(Tag.role, role) }
        return Frame(kind, fields, descriptors.map(\.descriptor))
    }

    public init(_ frame: Frame) throws(NodeError) {
        let roles = frame.fields.all(Tag.role).map { String(decoding: $0, as: UTF8.self) }
        guard roles.count == frame.descriptors.count else { throw .malformed("a descriptor without a role") }
        self.init(
            name: try Self.name(of: frame), payload: frame.fields.bytes(Tag.payload) ?? [],
            descriptors: zip(roles, frame.descriptors).map { ($0, $1) })
    }

    public static func name(of frame: Frame) throws(NodeError) -> String {
        try frame.fields.required(Tag.name, "the item's name")
    }

    public static func named(_ name: String, _ kind: Frame.Kind) -> Frame {
        var fields = Fields()
        fields.add(Tag.name, name)
        return Frame(kind, fields)
    }

    public static func names(_ names: [String]) -> Frame {
        var fields = Fields()
        for name in names { fields.add(Tag.name, name) }
        return Frame(.done, fields)
    }

    static func names(in frame: Frame) -> [String] {
        frame.fields.all(Tag.name).map { String(decoding: $0, as: UTF8.self) }
    }
}

/// An engine's connection to the keeper. As long as it stands, no other engine gets at what is kept.
public final class KeeperClient: Sendable {
    static let timeoutMs = 5_000
    private let client: FrameClient

    /// Connects and acquires everything that is kept. Throws `.refused(.busy)` while another engine has it.
    public init(path: String) throws(NodeError) {
        client = try FrameClient(connectingTo: path)
        try client.call(Frame(.acquire), timeoutMs: Self.timeoutMs)
    }

    /// Keeps a session, in place of what was kept under its id.
    public func put(_ record: SessionRecord) throws(NodeError) {
        try client.call(record.item.frame(.put), timeoutMs: Self.timeoutMs)
    }

    public func remove(_ id: String) throws(NodeError) {
        try client.call(KeptItem.named(id, .remove), timeoutMs: Self.timeoutMs)
    }

    /// The ids of the sessions kept.
    public func list() throws(NodeError) -> [String] {
        KeptItem.names(in: try client.call(Frame(.list), timeoutMs: Self.timeoutMs))
    }

    public func get(_ id: String) throws(NodeError) -> SessionRecord {
        try SessionRecord(KeptItem(try client.call(KeptItem.named(id, .get), timeoutMs: Self.timeoutMs)))
    }

    /// Waits for the keeper's death; false if it lives at the deadline.
    public func waitForEnd(deadline: Instant) -> Bool { client.waitForEnd(deadline: deadline) }

    public func end() { client.end() }
}
