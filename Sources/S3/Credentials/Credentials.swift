/// A text that never shows: not in a log, an error, a dump or a description.
public struct Secret: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    private let text: String
    public init(_ text: String) { self.text = text }

    /// The text itself, for the one place that sends or signs with it.
    public func reveal() -> String { text }
    public var description: String { "***" }
    public var debugDescription: String { "***" }
    public var customMirror: Mirror { Mirror(self, children: []) }
}

/// Keys to sign with.
public struct Credentials: Sendable, Hashable {
    public var accessKeyID: String
    public var secretAccessKey: Secret
    public var sessionToken: Secret?
    /// Seconds since 1970; nil: they do not expire.
    public var expires: Int64?

    public init(accessKeyID: String, secretAccessKey: Secret, sessionToken: Secret? = nil, expires: Int64? = nil) {
        self.accessKeyID = accessKeyID
        self.secretAccessKey = secretAccessKey
        self.sessionToken = sessionToken
        self.expires = expires
    }
}
