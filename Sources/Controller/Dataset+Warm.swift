import Kubernetes

/// What a Dataset says about nodes' caches, and how its warm-up gets on.
extension Dataset {
    public struct Cache: Codable, Sendable, Equatable {
        /// 0 to 1000; what is lower gives way first.
        public var priority: Int?
        public var pinned: Bool?
        /// The most that it may take of a node's cache, as 200Gi.
        public var quota: String?
        public init() {}
    }

    public struct Warm: Codable, Sendable, Equatable {
        /// Nodes that have the data; by default as many as `distribution` adds up to, else 1.
        public var replicas: Int?
        /// Which nodes may have it.
        public var nodeAffinity: NodeAffinity?
        public var tolerations: [Toleration]?
        /// Patterns of paths, and on how many nodes the files that match are to be. Empty: all files on all `replicas`.
        public var distribution: [String: Int]?
        /// When it is compared with the source again, as a cron expression in UTC.
        public var schedule: String?
        /// The longest that one node may take.
        public var timeoutSeconds: Int?
        public init() {}
    }

    public struct WarmStatus: Codable, Sendable, Equatable {
        public enum Phase: String, Codable, Sendable {
            case pending = "Pending"
            case running = "Running"
            case failed = "Failed"
            case completed = "Completed"
        }

        public var phase: Phase = .pending
        public var message: String?
        /// Nodes that are asked for, and that have all that they shall have.
        public var replicas: Int = 0
        public var readyReplicas: Int = 0
        public var nodes: [WarmNode]?
        /// One for each pattern of `distribution`, or one for all files.
        public var shares: [WarmShare]?
        /// To be pasted into a pod: nodes that have the data, or are getting it. Nil with a `distribution`, whose shares
        /// have their own.
        public var nodeAffinity: NodeAffinity?
        /// When it was compared with the source last by `schedule`, or first.
        public var scheduledAt: String?
        public init() {}
    }

    public struct WarmNode: Codable, Sendable, Equatable {
        public enum Phase: String, Codable, Sendable {
            case pending = "Pending"
            case warming = "Warming"
            case warm = "Warm"
            case failed = "Failed"
        }

        public var name: String
        public var phase: Phase = .pending
        /// Patterns that this node has; nil: all files.
        public var globs: [String]?
        public var objects: Int?
        public var objectsTotal: Int?
        public var bytes: Int?
        public var bytesTotal: Int?
        public var message: String?
        /// Since when it has this phase.
        public var since: String?
        public var failures: Int?
        /// A digest of the node, the data and the time of what this is about.
        public var attempt: String?
        public init(name: String) { self.name = name }
    }

    public struct WarmShare: Codable, Sendable, Equatable {
        /// Nil: all files.
        public var glob: String?
        public var replicas: Int
        public var readyReplicas: Int
        /// On nodes that have it (value `warm`) or are getting it (`warming`).
        public var label: String
        public var nodeAffinity: NodeAffinity
        public init(glob: String?, replicas: Int, readyReplicas: Int, label: String, nodeAffinity: NodeAffinity) {
            self.glob = glob
            self.replicas = replicas
            self.readyReplicas = readyReplicas
            self.label = label
            self.nodeAffinity = nodeAffinity
        }
    }
}
