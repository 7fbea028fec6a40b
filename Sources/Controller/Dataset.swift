import Kubernetes

/// Data in an object store that pods may mount; `charts/millrace/crds` has its schema.
public struct Dataset: KubernetesObject {
    public static let resource = Resource(
        group: Names.group, version: "v1alpha1", plural: "datasets", kind: "Dataset", isNamespaced: true)

    public var metadata: ObjectMeta
    public var spec: Spec
    public var status: Status?

    public init(metadata: ObjectMeta, spec: Spec) {
        self.metadata = metadata
        self.spec = spec
    }

    public struct Spec: Codable, Sendable, Equatable {
        public var source: Source
        /// A Secret in the Dataset's own namespace.
        public var secretRef: LocalReference?
        /// ReadOnly.
        public var access: String?
        public var allowedNamespaces: AllowedNamespaces?
        public var publish: Publish?
        public var mount: Mount?
        public var cache: Cache?
        public var warm: Warm?
        public var revision: Revision?
        /// What happens to pods that run when a grant is taken back: Drain (they go on) or Immediate.
        public var revocation: String?
        /// Lets keys be minted for it.
        public var broker: Broker?
        public init(source: Source) { self.source = source }
    }

    public struct Source: Codable, Sendable, Equatable {
        public var s3: S3Source?
        public var http: HTTPSource?
        public var nfs: NFSSource?
        public var pachyderm: PachydermSource?
        public init(
            s3: S3Source? = nil, http: HTTPSource? = nil, nfs: NFSSource? = nil, pachyderm: PachydermSource? = nil
        ) {
            self.s3 = s3
            self.http = http
            self.nfs = nfs
            self.pachyderm = pachyderm
        }
    }

    public struct S3Source: Codable, Sendable, Equatable {
        public var bucket: String
        public var prefix: String?
        /// `https://host[:port]`; nil: AWS.
        public var endpoint: String?
        public var region: String?
        public var pathStyle: Bool?
        public var anonymous: Bool?
        public var requesterPays: Bool?
        /// Certificate authorities of the endpoint, PEM.
        public var caBundle: String?
        public var roleARN: String?
        public var stsEndpoint: String?
        public init(bucket: String) { self.bucket = bucket }
    }

    public struct LocalReference: Codable, Sendable, Equatable {
        public var name: String
        public init(name: String) { self.name = name }
    }

    public struct AllowedNamespaces: Codable, Sendable, Equatable {
        /// Same (the Dataset's own), All or Selector.
        public var from: String?
        public var selector: LabelSelector?
        public init(from: String, selector: LabelSelector? = nil) {
            self.from = from
            self.selector = selector
        }
    }

    public struct Publish: Codable, Sendable, Equatable {
        public var namespaceSelector: LabelSelector
        /// Default: the Dataset's name.
        public var claimName: String?
        /// A class that permits the Dataset annotation.
        public var storageClassName: String?
        /// What the claims ask for; S3 has no limit, so it only matters to quotas.
        public var capacity: String?
        public init(namespaceSelector: LabelSelector, claimName: String? = nil) {
            self.namespaceSelector = namespaceSelector
            self.claimName = claimName
        }
    }

    /// How its files look, in the words of the volume attributes.
    public struct Mount: Codable, Sendable, Equatable {
        /// Seconds that names and sizes are trusted, or "immutable".
        public var metadataTTL: String?
        public var readAhead: String?
        public var uid: Int?
        public var gid: Int?
        public var fileMode: String?
        public var dirMode: String?
        public init() {}
    }

    /// Who may mint keys for it, and how much they may be good for.
    public struct Broker: Codable, Sendable, Equatable {
        /// The role that is taken; nil: the keys' own rights are narrowed, as MinIO does it.
        public var roleARN: String?
        /// Keys that may take the role, in the Dataset's own namespace; nil: the Dataset's `secretRef`.
        public var secretRef: LocalReference?
        /// nil: the source's endpoint, or AWS' own.
        public var stsEndpoint: String?
        /// Where sessions are denied; nil: as `stsEndpoint`.
        public var iamEndpoint: String?
        /// ReadOnly or ReadWrite: the most that a grant may ask for. nil: ReadOnly.
        public var access: String?
        /// nil: 3600.
        public var maxTTLSeconds: Int?
        public init() {}
    }

    public struct Status: Codable, Sendable, Equatable {
        public var observedGeneration: Int?
        public var conditions: [Condition]?
        public var objects: Int?
        public var bytes: Int?
        public var countedAt: String?
        public var consumers: Consumers?
        /// Written by the revisions' controller alone, both.
        public var revision: RevisionState?
        public var revisions: [RevisionRecord]?
        /// Written by the warm-up's controller alone.
        public var warm: WarmStatus?
        public init() {}
    }

    public struct Consumers: Codable, Sendable, Equatable {
        public var volumes: Int
        public var namespaces: Int
        public init(volumes: Int, namespaces: Int) {
            self.volumes = volumes
            self.namespaces = namespaces
        }
    }
}

extension Dataset {
    /// May pods of this namespace read it? A namespace that it is published to may.
    public func allows(_ namespace: Namespace) -> Bool {
        let name = namespace.metadata.name ?? ""
        let labels = namespace.metadata.labels
        if publishes(to: namespace) { return true }
        switch spec.allowedNamespaces?.from ?? "Same" {
        case "All": return true
        case "Same": return name == metadata.namespace
        case "Selector":
            // No selector grants nothing, where an empty one would grant everything.
            guard let selector = spec.allowedNamespaces?.selector else { return false }
            return selector.matches(labels)
        default: return false
        }
    }

    public func publishes(to namespace: Namespace) -> Bool {
        spec.publish?.namespaceSelector.matches(namespace.metadata.labels) ?? false
    }

    public var publishedClaimName: String { spec.publish?.claimName ?? metadata.name ?? "" }
    public var revokesAtOnce: Bool { spec.revocation == "Immediate" }
}
