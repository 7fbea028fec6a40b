import NodeProtocol

/// A volume that is shown at a target.
struct Publication: Equatable, Sendable {
    /// Nil where the journal was lost: then only the kernel's word is left, that a session is mounted there.
    var volumeID: String?
    var target: String
    var sessionID: String
    /// The scope of the credentials that the volume came with last.
    var scope: String
    /// No other target may have the volume meanwhile.
    var isExclusive = false
}

extension Publication {
    private enum Tag {
        static let format: UInt16 = 1
        static let volumeID: UInt16 = 2
        static let target: UInt16 = 3
        static let sessionID: UInt16 = 4
        static let scope: UInt16 = 5
        static let isExclusive: UInt16 = 6
    }

    var fields: Fields {
        var fields = Fields()
        fields.add(Tag.format, 1)
        fields.add(Tag.volumeID, volumeID)
        fields.add(Tag.target, target)
        fields.add(Tag.sessionID, sessionID)
        fields.add(Tag.scope, scope)
        fields.add(Tag.isExclusive, isExclusive)
        return fields
    }

    init(_ fields: Fields) throws(NodeError) {
        guard fields.number(Tag.format) == 1 else { throw .malformed("a publication of another format") }
        self.init(
            volumeID: fields.text(Tag.volumeID), target: try fields.required(Tag.target, "the target"),
            sessionID: try fields.required(Tag.sessionID, "the session"),
            scope: try fields.required(Tag.scope, "the scope"), isExclusive: fields.flag(Tag.isExclusive) ?? false)
    }
}
