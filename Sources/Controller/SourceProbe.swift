/// Asks a source what the controller wants to know. Every call ends within its own time limit.
public protocol SourceProbe: Sendable {
    /// One listing with these credentials; nil: anonymous.
    func check(_ view: DatasetView, credentials: SourceCredentials?) async -> Observation.Finding
    /// Is there anything below the view's prefix? Nil: can't tell.
    func exists(_ view: DatasetView, credentials: SourceCredentials?) async -> Bool?
    /// All objects and their bytes; nil: can't tell, or too many to count in time.
    func count(_ view: DatasetView, credentials: SourceCredentials?) async -> (objects: Int, bytes: Int)?
}

/// Keys out of a Secret. They show in no log and no description.
public struct SourceCredentials: Sendable, CustomStringConvertible, CustomReflectable {
    public var accessKeyID: String
    public var secretAccessKey: String
    public var sessionToken: String?

    public var description: String { "SourceCredentials(***)" }
    public var customMirror: Mirror { Mirror(self, children: []) }

    public init(accessKeyID: String, secretAccessKey: String, sessionToken: String? = nil) {
        self.accessKeyID = accessKeyID
        self.secretAccessKey = secretAccessKey
        self.sessionToken = sessionToken
    }

    /// The spellings of keys that are understood, as people bring Secrets from other systems.
    public static let idKeys = [
        "accessKeyID", "accessKeyId", "access_key_id", "AWS_ACCESS_KEY_ID", "awsAccessKeyID", "aws_access_key_id", "key_id",
    ]
    public static let secretKeys = [
        "secretAccessKey", "secretKey", "secret_access_key", "AWS_SECRET_ACCESS_KEY", "awsSecretAccessKey",
        "aws_secret_access_key", "access_key",
    ]
    public static let tokenKeys = ["sessionToken", "session_token", "AWS_SESSION_TOKEN", "awsSessionToken"]

    /// From a Secret's decoded data. The refusal names keys, never values.
    public init(secret data: [String: String], named name: String) throws(Refusal) {
        func value(_ keys: [String]) -> String? { keys.lazy.compactMap { data[$0] }.first { !$0.isEmpty } }
        guard let id = value(Self.idKeys), let secret = value(Self.secretKeys) else {
            let found = data.keys.sorted().joined(separator: ", ")
            throw Refusal(
                "SecretKeys",
                "Secret \(name) has the keys [\(found)]; it needs accessKeyID and secretAccessKey (or AWS_ACCESS_KEY_ID and "
                    + "AWS_SECRET_ACCESS_KEY)")
        }
        func trimmed(_ text: String) -> String { String(text.filter { !$0.isNewline }) }
        self.init(
            accessKeyID: trimmed(id), secretAccessKey: trimmed(secret), sessionToken: value(Self.tokenKeys).map(trimmed))
    }
}
