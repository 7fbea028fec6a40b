import Controller
import Kubernetes

/// A Dataset's store as its owner lets keys be minted for it: the only place where endpoints, roles and Secrets come
/// from.
public struct BrokeredStore: Sendable, Equatable {
    public var dataset: ObjectKey
    /// Its endpoint, region and bucket.
    public var source: Dataset.S3Source
    /// nil: the keys' own rights are narrowed.
    public var roleARN: String?
    /// nil: AWS' own.
    public var stsEndpoint: String?
    public var iamEndpoint: String?
    /// Keys that may take the role.
    public var secret: SecretReference
    /// The most that a grant may ask for.
    public var access: Access
    public var mostTTLSeconds: Int

    public enum Access: String, Sendable {
        case readOnly = "ReadOnly"
        case readWrite = "ReadWrite"
    }

    public static let ttlRange = 900...43200
    static let defaultTTL = 3600

    public var region: String { source.region ?? "us-east-1" }

    public init(_ dataset: Dataset) throws(Refusal) {
        let key = dataset.key
        guard let source = dataset.spec.source.s3 else {
            throw Refusal("NotS3", "Dataset \(key) has no source.s3; keys are minted for S3 only")
        }
        guard let broker = dataset.spec.broker else {
            throw Refusal(
                "BrokerMissing", "Dataset \(key) has no spec.broker; its owner can let keys be minted by setting it")
        }
        if let problem = source.problem { throw Refusal("SourceInvalid", "Dataset \(key): source.s3.\(problem)") }
        guard let secret = broker.secretRef ?? dataset.spec.secretRef else {
            throw Refusal(
                "SecretMissing",
                "Dataset \(key): spec.broker.secretRef is missing; it names the keys that take the role")
        }
        self.dataset = key
        self.source = source
        self.secret = SecretReference(name: secret.name, namespace: key.namespace)
        roleARN = broker.roleARN
        stsEndpoint = broker.stsEndpoint ?? source.endpoint
        iamEndpoint = broker.iamEndpoint ?? broker.stsEndpoint ?? source.endpoint
        access = broker.access.flatMap(Access.init) ?? .readOnly
        mostTTLSeconds = min(
            Self.ttlRange.upperBound, max(Self.ttlRange.lowerBound, broker.maxTTLSeconds ?? Self.defaultTTL))
    }
}
