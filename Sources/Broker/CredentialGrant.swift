import Controller
import Kubernetes

/// Short-lived keys of a Dataset's store for one namespace, in a Secret that is kept fresh. `charts/millrace/files` has
/// its schema.
public struct CredentialGrant: KubernetesObject {
    public static let resource = Resource(
        group: Controller.Names.group, version: "v1alpha1", plural: "credentialgrants", kind: "CredentialGrant",
        isNamespaced: true)

    public var metadata: ObjectMeta
    public var spec: Spec
    public var status: Status?

    public init(metadata: ObjectMeta, spec: Spec) {
        self.metadata = metadata
        self.spec = spec
    }

    public struct Spec: Codable, Sendable, Equatable {
        /// `namespace/name`, or a name in the grant's own namespace.
        public var dataset: String
        /// ReadOnly (default) or ReadWrite.
        public var access: String?
        /// A directory below the Dataset's prefix.
        public var subPath: String?
        /// How long minted keys live, 900 or more.
        public var ttlSeconds: Int?
        /// nil: the grant's name.
        public var secretName: String?
        /// The Secret's keys by what they hold.
        public var keys: [String: String]?
        /// Secret (default), or Answer: keys are given to those who ask the API, and kept nowhere.
        public var delivery: String?

        public init(dataset: String) { self.dataset = dataset }
    }

    public struct Status: Codable, Sendable, Equatable {
        public var observedGeneration: Int?
        public var conditions: [Condition]?
        /// Counts up when keys that were minted before must not work any more.
        public var session: Int?
        /// The Secret that holds the keys.
        public var secretName: String?
        /// What the store's logs call who uses the keys.
        public var sessionName: String?
        /// The role that the session was taken of.
        public var roleARN: String?
        /// A digest of what the keys are good for.
        public var scope: String?
        public var issuedAt: String?
        public var expiresAt: String?
        public var renewAt: String?
        public init() {}
    }
}

extension CredentialGrant {
    /// Held until the keys are revoked.
    public static let finalizer = "millrace.dev/revoke"

    public var secretName: String { spec.secretName ?? metadata.name ?? "" }
    public var isAnswered: Bool { spec.delivery == "Answer" }
    public var datasetKey: ObjectKey? { ObjectKey(reference: spec.dataset, defaultNamespace: metadata.namespace) }
    var session: Int { status?.session ?? 1 }

    /// What the store calls the session of that number. A store denies it by this name, so no two grants may share one,
    /// nor one grant with another that had its name before.
    func sessionName(_ number: Int) -> String {
        let place = "\((metadata.namespace ?? "").prefix(18)).\((metadata.name ?? "").prefix(18))"
        return "\(place).\(Fingerprint.of(metadata.uid ?? "")).\(number)"
    }

    public func condition(_ type: String) -> Condition? { status?.conditions?.first { $0.type == type } }
}
