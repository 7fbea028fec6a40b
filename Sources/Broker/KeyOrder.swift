import Controller
import Kubernetes

/// What somebody asks the broker for, over HTTP: keys of a storage (a Dataset) for a namespace.
public struct KeyOrder: Sendable, Equatable {
    public enum Kind: Sendable, Equatable {
        /// Mint, and keep the keys in a Secret here.
        case mint
        /// Mint, and answer the keys: they are for another cluster.
        case retrieve
        /// Keep these keys, which another cluster answered, in a Secret here.
        case store([String: String])
    }

    public var kind: Kind
    public var storage: ObjectKey
    public var namespace: String
    /// The grant's name.
    public var name: String
    public var access: String?
    public var subPath: String?
    public var ttlSeconds: Int?
    public var secretName: String?
    public var keys: [String: String]?

    static let members: Set<String> = [
        "retrieve", "credentials", "name", "access", "subPath", "ttlSeconds", "secretName", "keys",
    ]

    /// Reads a request's body; `.null` or an empty object asks to mint. Throws what is wrong with it, without values.
    public init(_ json: JSON, storage: ObjectKey, namespace: String) throws(BrokerFailure) {
        func wrong(_ text: String) -> BrokerFailure { BrokerFailure(400, "BadRequest", text) }
        guard json == .null || json.object != nil else {
            throw wrong("the body isn't a JSON object; leave it empty to mint and store keys here")
        }
        if let stranger = json.object?.keys.sorted().first(where: { !Self.members.contains($0) }) {
            throw wrong(
                "\"\(stranger.prefix(60))\" isn't known; known are \(Self.members.sorted().joined(separator: ", "))")
        }
        func string(_ name: String) throws(BrokerFailure) -> String? {
            guard let value = json[name], value != .null else { return nil }
            guard let text = value.string, !text.isEmpty else { throw wrong("\(name) must be a text") }
            return text
        }
        func strings(_ name: String) throws(BrokerFailure) -> [String: String]? {
            guard let value = json[name], value != .null else { return nil }
            guard let members = value.object else { throw wrong("\(name) must be an object of texts") }
            var texts: [String: String] = [:]
            for (key, value) in members where value != .null {
                guard let text = value.string else { throw wrong("\(name).\(key.prefix(60)) must be a text") }
                texts[key] = text
            }
            return texts
        }
        self.storage = storage
        self.namespace = namespace
        access = try string("access")
        subPath = try string("subPath")
        secretName = try string("secretName")
        keys = try strings("keys")
        if let problem = GrantKeys.problem(keys) { throw wrong(problem) }
        if let value = json["ttlSeconds"], value != .null {
            guard let seconds = value.integer else { throw wrong("ttlSeconds must be a whole number") }
            ttlSeconds = seconds
        }
        var asksToRetrieve = false
        if let value = json["retrieve"], value != .null {
            guard let flag = value.bool else { throw wrong("retrieve must be true or false") }
            asksToRetrieve = flag
        }
        if let credentials = try strings("credentials") {
            guard !asksToRetrieve else { throw wrong("retrieve and credentials exclude each other") }
            if let stranger = credentials.keys.sorted().first(where: { !GrantKeys.fields.contains($0) }) {
                throw wrong("credentials.\(stranger.prefix(60)) isn't known")
            }
            for field in ["accessKeyID", "secretAccessKey"] where credentials[field]?.isEmpty != false {
                throw wrong("credentials.\(field) is missing")
            }
            kind = .store(credentials)
        } else {
            kind = asksToRetrieve ? .retrieve : .mint
        }
        // Both may be wanted in one namespace: its pods may run here and elsewhere.
        name = try string("name") ?? (asksToRetrieve ? "\(storage.name)-answered" : storage.name)
    }

    var grant: CredentialGrant {
        var spec = CredentialGrant.Spec(dataset: storage.description)
        // As the API server fills them in, so that an order that asks for nothing else changes nothing.
        spec.access = access ?? BrokeredStore.Access.readOnly.rawValue
        spec.subPath = subPath
        spec.ttlSeconds = ttlSeconds
        spec.keys = keys
        spec.delivery = kind == .retrieve ? "Answer" : "Secret"
        if kind != .retrieve { spec.secretName = secretName }
        return CredentialGrant(metadata: ObjectMeta(name: name, namespace: namespace), spec: spec)
    }
}
