/// Text that must not be seen: it prints as "redacted".
public struct Secret: Equatable, Hashable, Sendable, CustomStringConvertible, CustomDebugStringConvertible,
    CustomReflectable
{
    /// The text itself. Read it where it is used, and nowhere else.
    public let exposed: String

    public init(_ text: String) { exposed = text }

    public var description: String { "redacted" }
    public var debugDescription: String { "redacted" }
    public var customMirror: Mirror { Mirror(self, children: [:]) }
}

/// How a session proves who it is to the object store. Between processes it goes as sealed memory, never inside a
/// message, so that messages may be logged.
public enum SessionCredentials: Equatable, Sendable {
    case anonymous
    case keys(accessKeyID: String, secretAccessKey: Secret, sessionToken: Secret?)
    /// An OIDC token, exchanged for keys by AssumeRoleWithWebIdentity.
    case webIdentity(roleARN: String, token: Secret)
    /// Lines of an HTTP request's head, "Name: value", for a web server.
    case headers([Secret])

    private enum Tag {
        static let kind: UInt16 = 1
        static let accessKeyID: UInt16 = 2
        static let secretAccessKey: UInt16 = 3
        static let sessionToken: UInt16 = 4
        static let roleARN: UInt16 = 5
        static let token: UInt16 = 6
        static let header: UInt16 = 7
    }
    private static let maxBytes = 64 << 10

    /// Sealed memory that holds them.
    public func sealed() throws(NodeError) -> Descriptor {
        var fields = Fields()
        switch self {
        case .anonymous:
            fields.add(Tag.kind, 0)
        case .keys(let id, let secret, let token):
            fields.add(Tag.kind, 1)
            fields.add(Tag.accessKeyID, id)
            fields.add(Tag.secretAccessKey, secret.exposed)
            fields.add(Tag.sessionToken, token?.exposed)
        case .webIdentity(let role, let token):
            fields.add(Tag.kind, 2)
            fields.add(Tag.roleARN, role)
            fields.add(Tag.token, token.exposed)
        case .headers(let lines):
            fields.add(Tag.kind, 3)
            for line in lines { fields.add(Tag.header, line.exposed) }
        }
        return try Descriptor.sealed("millrace-secrets", fields.encoded)
    }

    public init(sealed memory: Descriptor) throws(NodeError) {
        let fields = try Fields(decoding: try memory.contents(limit: Self.maxBytes))
        switch fields.number(Tag.kind) {
        case 0: self = .anonymous
        case 1:
            self = .keys(
                accessKeyID: try fields.required(Tag.accessKeyID, "the access key's id"),
                secretAccessKey: Secret(try fields.required(Tag.secretAccessKey, "the secret access key")),
                sessionToken: fields.text(Tag.sessionToken).map(Secret.init))
        case 2:
            self = .webIdentity(
                roleARN: try fields.required(Tag.roleARN, "the role's ARN"),
                token: Secret(try fields.required(Tag.token, "the web identity token")))
        case 3: self = .headers(fields.all(Tag.header).map { Secret(String(decoding: $0, as: UTF8.self)) })
        default: throw .malformed("credentials of a kind that this version does not know")
        }
    }
}
