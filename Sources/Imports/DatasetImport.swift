import Controller
import Kubernetes

/// A copy of data from S3 or a web server onto a claim; `charts/millrace/files/datasetimports.yaml` has its schema.
///
/// It fills the claim that it names or makes, once or by a schedule; one that does neither is a source for claims whose
/// `dataSourceRef` names it.
public struct DatasetImport: KubernetesObject {
    public static let resource = Resource(
        group: Names.group, version: "v1alpha1", plural: "datasetimports", kind: "DatasetImport", isNamespaced: true)

    public var metadata: ObjectMeta
    public var spec: Spec
    public var status: Status?

    public init(metadata: ObjectMeta, spec: Spec) {
        self.metadata = metadata
        self.spec = spec
    }

    public struct Spec: Codable, Sendable, Equatable {
        public var source: Source
        /// A Secret of this namespace with S3 keys, or with the user and password of a web server.
        public var secretRef: Dataset.LocalReference?
        /// Certificate authorities of the source: all keys of a ConfigMap, PEM.
        public var certConfigMap: Dataset.LocalReference?
        /// Header lines for URLs: all keys of a Secret, `Name: value`.
        public var extraHeadersSecret: Dataset.LocalReference?
        /// A claim that is there.
        public var claimName: String?
        /// A claim that is made.
        public var claimTemplate: ClaimTemplate?
        /// Where in the volume; default: its root.
        public var directory: String?
        /// What the one object must hash to: `sha256:…`.
        public var checksum: String?
        /// Checksums of many files: all keys of a ConfigMap, as sha256sum writes them.
        public var checksumsConfigMap: Dataset.LocalReference?
        /// Compare each file with the checksum that S3 keeps.
        public var verify: Bool?
        /// Restart or Fail.
        public var onSourceChange: String?
        /// Cron, in UTC; each run fills a claim of its own.
        public var schedule: String?
        /// How many claims of a schedule are kept; default 3.
        public var keepLast: Int?
        public var suspend: Bool?
        /// Delete or Retain: what becomes of the claims that it made when it goes.
        public var reclaimPolicy: String?
        /// How often the Job's pod may fail; default 6.
        public var retries: Int?
        public var activeDeadlineSeconds: Int?
        /// Requests in flight; default 32.
        public var parallel: Int?
        public var resources: JSON?
        public var nodeSelector: [String: String]?
        public var tolerations: JSON?
        public var affinity: JSON?
        public var podSecurityContext: JSON?
        public init(source: Source) { self.source = source }
    }

    public struct Source: Codable, Sendable, Equatable {
        public var s3: S3Source?
        public var http: HTTPSource?
        public init(s3: S3Source? = nil, http: HTTPSource? = nil) {
            self.s3 = s3
            self.http = http
        }
    }

    public struct S3Source: Codable, Sendable, Equatable {
        /// Nil: the Secret's `objectPath` names bucket and key.
        public var bucket: String?
        /// What keys must begin with; files are named by what comes after its last slash.
        public var prefix: String?
        /// One object instead of a prefix.
        public var object: String?
        /// `https://host[:port]`; nil: the Secret's, or AWS.
        public var endpoint: String?
        public var region: String?
        public var pathStyle: Bool?
        public var anonymous: Bool?
        public var requesterPays: Bool?
        public init(bucket: String?) { self.bucket = bucket }
    }

    public struct HTTPSource: Codable, Sendable, Equatable {
        /// Files; or one that ends in a slash, for all that its index pages list.
        public var urls: [String]
        public init(urls: [String]) { self.urls = urls }
    }

    public struct ClaimTemplate: Codable, Sendable, Equatable {
        /// Default: the import's name.
        public var name: String?
        public var labels: [String: String]?
        public var annotations: [String: String]?
        public var storageClassName: String?
        public var accessModes: [String]?
        /// A quantity, as 10Gi.
        public var capacity: String
        public init(capacity: String) { self.capacity = capacity }
    }

    public enum Phase: String, Codable, Sendable {
        /// Waits for something: its claim, a node, a Secret.
        case pending = "Pending"
        case running = "Running"
        case succeeded = "Succeeded"
        case failed = "Failed"
        /// Waits for its next time.
        case scheduled = "Scheduled"
        /// A source for claims' dataSourceRef.
        case ready = "Ready"
    }

    public struct Status: Codable, Sendable, Equatable {
        public var observedGeneration: Int?
        public var phase: Phase?
        public var message: String?
        public var conditions: [Condition]?
        public var progress: Progress?
        /// Pods of the Job that failed.
        public var restarts: Int?
        public var lastTransition: String?
        public var claimName: String?
        public var jobName: String?
        public var startTime: String?
        public var completionTime: String?
        /// Of a schedule: the run under way.
        public var current: Run?
        /// The claim of the newest run that succeeded: what a user of the data should name next.
        public var latestClaim: String?
        public var lastScheduleTime: String?
        public var nextScheduleTime: String?
        /// Runs that ended, newest first.
        public var history: [Run]?
        public init() {}
    }

    public struct Progress: Codable, Sendable, Equatable {
        public var objects: Int
        public var objectsTotal: Int?
        public var bytes: Int
        public var bytesTotal: Int?
        public var percent: Int?
    }

    public struct Run: Codable, Sendable, Equatable {
        /// Seconds since 1970 of its time in the schedule.
        public var scheduled: Int
        public var claimName: String
        public var jobName: String
        public var phase: Phase?
        public var message: String?
        public var progress: Progress?
        public var completionTime: String?
    }
}

extension DatasetImport {
    public var isScheduled: Bool { spec.schedule != nil }
    /// It only says where data comes from, for claims that name it.
    public var isSourceOnly: Bool { spec.claimName == nil && spec.claimTemplate == nil }
    public var isOver: Bool { status?.phase == .succeeded || status?.phase == .failed }
    public var keepLast: Int { max(1, spec.keepLast ?? 3) }
    /// The claim that a run without a schedule fills.
    public var ownClaimName: String? { spec.claimName ?? spec.claimTemplate.map { $0.name ?? metadata.name ?? "" } }
    var uid: String { metadata.uid ?? "" }
}

/// What imports call things.
public enum ImportNames {
    /// On imports: its Job may not go before the pods that write are gone.
    static let finalizer = "millrace.dev/import"
    /// On an import, by people and the API: `true` removes Job and pods and ends it.
    public static let cleanup = "millrace.dev/cleanup"
    /// On a claim: who fills it now, `name/uid` of the import.
    public static let filledBy = "millrace.dev/import"
    /// On a claim with a dataSourceRef: how far it is.
    static let phase = "millrace.dev/import-phase"
    /// On Jobs, pods and claims: the UID of the import (or of the claim that is populated).
    static let uidLabel = "millrace.dev/import-uid"
    /// On claims of a schedule: `true` on the newest whole one.
    public static let latest = "millrace.dev/latest"
    static let component = "app.kubernetes.io/component"
    static let importComponent = "import"
    static let selectedNode = "volume.kubernetes.io/selected-node"

    static func job(uid: String) -> String { "import-\(uid)" }
    static func job(uid: String, scheduled: Int) -> String { "import-\(uid)-\(scheduled / 60)" }
    static func prime(uid: String) -> String { "prime-\(uid)" }
}
