/// One message: what it is, its fields, and descriptors that go with it.
public struct Frame: Sendable {
    /// Raw values are on the wire and never change their meaning.
    public enum Kind: UInt16, Sendable {
        // Any server.
        case ping = 1
        // The keeper.
        case acquire = 16
        case put = 17
        case remove = 18
        case list = 19
        case get = 20
        // The engine.
        case open = 32
        case update = 33
        case close = 34
        case sessions = 35
        case statistics = 36
        case drain = 37
        case newestRevision = 38
        // Answers.
        case done = 0x8000
        case failure = 0x8001
    }

    /// Of the header. The fields inside are compatible both ways, so this changes only with the framing itself.
    static let version: UInt16 = 1
    static let magic: UInt32 = 0x4352_4C4D  // "MLRC"
    static let headerBytes = 16
    static let maxDescriptors = 8

    public var kind: Kind
    public var fields: Fields
    public var descriptors: [Descriptor]

    public init(_ kind: Kind, _ fields: Fields = Fields(), _ descriptors: [Descriptor] = []) {
        self.kind = kind
        self.fields = fields
        self.descriptors = descriptors
    }

    static let reasonTag: UInt16 = 1
    static let messageTag: UInt16 = 2

    static func failure(_ error: NodeError) -> Frame {
        var fields = Fields()
        if case .refused(let reason, let message) = error {
            fields.add(reasonTag, reason.rawValue)
            fields.add(messageTag, message)
        } else {
            fields.add(reasonTag, NodeError.Reason.failed.rawValue)
            fields.add(messageTag, error.description)
        }
        return Frame(.failure, fields)
    }

    /// The error that a `.failure` carries.
    var refusal: NodeError {
        let reason = fields.number(Self.reasonTag).flatMap(NodeError.Reason.init) ?? .failed
        return .refused(reason, fields.text(Self.messageTag) ?? "no reason was given")
    }

    /// Header: magic u32, version u16, kind u16, bytes of fields u32, descriptors u16, 0 u16; then the fields.
    func encoded() throws(NodeError) -> [UInt8] {
        let payload = fields.encoded
        guard payload.count <= Fields.maxBytes else { throw .malformed("\(payload.count) bytes are too many to send") }
        guard descriptors.count <= Self.maxDescriptors else { throw .malformed("too many descriptors to send") }
        var out: [UInt8] = []
        out.reserveCapacity(Self.headerBytes + payload.count)
        func put(_ value: UInt32, bytes: Int) {
            for i in 0..<bytes { out.append(UInt8(truncatingIfNeeded: value >> (8 * UInt32(i)))) }
        }
        put(Self.magic, bytes: 4)
        put(UInt32(Self.version), bytes: 2)
        put(UInt32(kind.rawValue), bytes: 2)
        put(UInt32(payload.count), bytes: 4)
        put(UInt32(descriptors.count), bytes: 2)
        put(0, bytes: 2)
        return out + payload
    }

    struct Header {
        var kind: UInt16
        var payloadBytes: Int
        var descriptors: Int

        init(_ bytes: [UInt8]) throws(NodeError) {
            func word(_ at: Int, _ count: Int) -> UInt32 {
                (0..<count).reduce(0) { $0 | UInt32(bytes[at + $1]) << (8 * UInt32($1)) }
            }
            guard word(0, 4) == Frame.magic else { throw .malformed("not this protocol") }
            guard word(4, 2) == UInt32(Frame.version) else {
                throw .malformed("framing version \(word(4, 2)), this program speaks \(Frame.version)")
            }
            kind = UInt16(word(6, 2))
            payloadBytes = Int(word(8, 4))
            descriptors = Int(word(12, 2))
            guard payloadBytes <= Fields.maxBytes else { throw .malformed("\(payloadBytes) bytes announced") }
            guard descriptors <= Frame.maxDescriptors else { throw .malformed("\(descriptors) descriptors announced") }
        }
    }
}
