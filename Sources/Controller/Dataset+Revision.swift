import Kubernetes

extension Dataset.RevisionRecord {
    /// The ID that a volume has which shows the newest revision to each pod that starts.
    public static let newest = "newest"

    /// `s3://bucket/key` of the object that says which revision is the newest: beside the manifests.
    public var pointer: String {
        manifest.lastIndex(of: "/").map { manifest[...$0] + Self.newest } ?? Self.newest
    }
}

extension Dataset {
    /// Which state of the data pods see.
    public struct Revision: Codable, Sendable, Equatable {
        /// Live (what is there now) or Pinned (a snapshot that never changes).
        public var policy: String?
        /// When new revisions are made, as cron writes it, in UTC; left out: one, when the Dataset is made.
        public var schedule: String?
        /// Revisions that are kept though no volume shows them. Default: 3.
        public var keep: Int?
        /// Volumes show pods that start the newest revision, and pods that run the one they started with; or all their pods
        /// the one that was the newest when the volume was made. Default: true.
        public var rollForward: Bool?
        public var store: Store?
        public init(policy: String) { self.policy = policy }
    }

    /// Where manifests are kept; by default in the source's own bucket.
    public struct Store: Codable, Sendable, Equatable {
        public var bucket: String
        /// "" or ends in a slash, before `.millrace/revisions/`.
        public var prefix: String?
        public var endpoint: String?
        public var region: String?
        public var pathStyle: Bool?
        /// Keys that may write there; left out: the Dataset's own.
        public var secretRef: LocalReference?
        public init(bucket: String) { self.bucket = bucket }
    }

    /// One snapshot, in the status.
    public struct RevisionRecord: Codable, Sendable, Equatable {
        /// Later ones are greater.
        public var id: String
        /// `s3://bucket/key`
        public var manifest: String
        /// Where that is, unless it is where the source is.
        public var endpoint: String?
        public var region: String?
        public var pathStyle: Bool?
        public var createdAt: String
        /// Since when pods that start get it, where volumes roll forward; nil: never yet.
        public var readyAt: String?
        public var objects: Int
        public var bytes: Int
        /// Equal for equal contents.
        public var digest: String
        /// Of which source.
        public var source: String

        public init(
            id: String, manifest: String, createdAt: String, objects: Int, bytes: Int, digest: String, source: String
        ) {
            self.id = id
            self.manifest = manifest
            self.createdAt = createdAt
            self.objects = objects
            self.bytes = bytes
            self.digest = digest
            self.source = source
        }
    }

    /// How the making of revisions gets on.
    public struct RevisionState: Codable, Sendable, Equatable {
        /// Building, Ready or Failed.
        public var phase: String
        public var message: String
        public var lastAttempt: String?
        public var next: String?
        /// The value of the annotation that asked for the last one.
        public var request: String?
        /// The revision that the pointer in the store leads to, or led to before a later one that isn't recorded yet.
        public var current: String?
        public init(phase: String, message: String) {
            self.phase = phase
            self.message = message
        }
    }

    public var isPinned: Bool { spec.revision?.policy == "Pinned" }

    public var rollsForward: Bool { isPinned && spec.revision?.rollForward != false }

    /// Tells sources apart: a revision of another one is of no use.
    public var sourceDigest: String {
        guard let s3 = spec.source.kind?.asS3 else { return "" }
        return String(SHA256.hex("\(s3.endpoint ?? "")\n\(s3.bucket)\n\(s3.prefix ?? "")").prefix(16))
    }

    /// What new volumes show.
    public var newestRevision: RevisionRecord? {
        status?.revisions?.filter { $0.source == sourceDigest }.max { $0.id < $1.id }
    }

    /// What volumes that are made now are made of: where they roll forward, not before the pointer is there.
    public var mountableRevision: RevisionRecord? {
        guard rollsForward else { return newestRevision }
        return newestRevision?.readyAt == nil && status?.revision?.current == nil ? nil : newestRevision
    }
}
