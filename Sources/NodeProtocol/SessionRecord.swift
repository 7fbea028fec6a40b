/// All that outlives an engine: what it leaves in the keeper for each session, and its successor starts from.
public struct SessionRecord: Sendable {
    public var id: String
    public var spec: SessionSpec
    /// The FUSE connection's number, which is also its device's minor number.
    public var connection: UInt32
    /// The request of FUSE_INIT as the kernel sent it.
    public var initExchange: [UInt8]
    /// Who wrote it, for people.
    public var writtenBy: String

    /// The mounted /dev/fuse.
    public var device: Descriptor
    /// Sealed memory with `SessionCredentials`.
    public var secrets: Descriptor
    /// The inode table: shared memory that the engine writes as it goes.
    public var journal: Descriptor
    /// The requests under way: shared memory, too. Nil where a version left the session that had none.
    public var requests: Descriptor?

    public init(
        id: String, spec: SessionSpec, connection: UInt32, initExchange: [UInt8], writtenBy: String,
        device: Descriptor, secrets: Descriptor, journal: Descriptor, requests: Descriptor? = nil
    ) {
        self.requests = requests
        self.id = id
        self.spec = spec
        self.connection = connection
        self.initExchange = initExchange
        self.writtenBy = writtenBy
        self.device = device
        self.secrets = secrets
        self.journal = journal
    }
}

extension SessionRecord {
    /// Raised when a reader of the version before would go wrong, not when it would only miss something.
    ///
    /// 2: sources that version 1 would take for a live bucket. Others are written as 1 still.
    static let format = 2

    private enum Tag {
        static let format: UInt16 = 1
        static let spec: UInt16 = 2
        static let connection: UInt16 = 3
        static let initExchange: UInt16 = 4
        static let writtenBy: UInt16 = 5
    }

    var item: KeptItem {
        var fields = Fields()
        fields.add(Tag.format, spec.revision == nil && spec.web == nil ? 1 : 2)
        fields.add(Tag.spec, spec.fields)
        fields.add(Tag.connection, Int(connection))
        fields.add(Tag.initExchange, initExchange)
        fields.add(Tag.writtenBy, writtenBy)
        return KeptItem(
            name: id, payload: fields.encoded,
            descriptors: [("device", device), ("secrets", secrets), ("journal", journal)]
                + (requests.map { [("requests", $0)] } ?? []))
    }

    init(_ item: KeptItem) throws(NodeError) {
        let fields = try Fields(decoding: item.payload)
        guard let format = fields.number(Tag.format), format <= Self.format else {
            throw .malformed("session \(item.name) was left in a format that this version cannot read")
        }
        func descriptor(_ role: String) throws(NodeError) -> Descriptor {
            guard let found = item.descriptors.first(where: { $0.role == role }) else {
                throw .malformed("session \(item.name) was left without its \(role)")
            }
            return found.descriptor
        }
        guard let spec = fields.bytes(Tag.spec), let connection = fields.number(Tag.connection) else {
            throw .malformed("session \(item.name) was left incomplete")
        }
        self.init(
            id: item.name, spec: try SessionSpec(Fields(decoding: spec)),
            connection: UInt32(truncatingIfNeeded: connection),
            initExchange: fields.bytes(Tag.initExchange) ?? [], writtenBy: fields.text(Tag.writtenBy) ?? "?",
            device: try descriptor("device"), secrets: try descriptor("secrets"), journal: try descriptor("journal"),
            requests: item.descriptors.first { $0.role == "requests" }?.descriptor)
    }
}
