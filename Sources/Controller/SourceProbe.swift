import S3

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
    /// What some keep beside the keys; the Dataset's own goes first.
    public var endpoint: String?
    public var region: String?

    public var description: String { "SourceCredentials(***)" }
    public var customMirror: Mirror { Mirror(self, children: []) }

    public init(accessKeyID: String, secretAccessKey: String, sessionToken: String? = nil) {
        self.accessKeyID = accessKeyID
        self.secretAccessKey = secretAccessKey
        self.sessionToken = sessionToken
    }

    /// The spellings of keys that are understood, as people bring Secrets from other systems; the node plugin's own list.
    public static let idKeys = KeySpellings.accessKeyID
    public static let secretKeys = KeySpellings.secretAccessKey
    public static let tokenKeys = KeySpellings.sessionToken
    public static let bothKeys = ["token", "pachydermToken"]
    public static let endpointKeys = KeySpellings.endpoint
    public static let regionKeys = KeySpellings.region

    /// From a Secret's decoded data. The refusal names keys, never values.
    public init(secret data: [String: String], named name: String) throws(Refusal) {
        func value(_ keys: [String]) -> String? {
            keys.lazy.compactMap { data[$0] }.first { !$0.isEmpty }?.trimmingSpace
        }
        let known = Set(
            Self.bothKeys + Self.idKeys + Self.secretKeys + Self.tokenKeys + Self.endpointKeys + Self.regionKeys)
        let found = data.keys.sorted().joined(separator: ", ")
        // Pachyderm's gateway takes a session's token for both keys.
        guard let id = value(Self.idKeys + Self.bothKeys), let secret = value(Self.secretKeys + Self.bothKeys) else {
            throw Refusal(
                "SecretKeys",
                "Secret \(name) has the keys [\(found)]; it needs accessKeyID and secretAccessKey (or AWS_ACCESS_KEY_ID and "
                    + "AWS_SECRET_ACCESS_KEY)")
        }
        if let stranger = data.keys.sorted().first(where: { !known.contains($0) }) {
            throw Refusal(
                "SecretKeys", "Secret \(name) has the unknown key \(stranger), which the node plugin refuses; remove it"
            )
        }
        self.init(accessKeyID: id, secretAccessKey: secret, sessionToken: value(Self.tokenKeys))
        endpoint = value(Self.endpointKeys)
        region = value(Self.regionKeys)
    }
}

extension String {
    /// Keys are often stored with the newline of the `echo` that made them.
    fileprivate var trimmingSpace: String {
        var text = self[...]
        while text.first?.isWhitespace == true { text.removeFirst() }
        while text.last?.isWhitespace == true { text.removeLast() }
        return String(text)
    }
}
