import Controller
import Kubernetes

/// Brings a Dataset's data, or some of it, into nodes' caches once.
public struct DatasetLoad: KubernetesObject {
    public static let resource = Resource(
        group: Names.group, version: "v1alpha1", plural: "datasetloads", kind: "DatasetLoad", isNamespaced: true)

    public struct Spec: Codable, Sendable, Equatable {
        /// A Dataset of the same namespace.
        public var dataset: String
        /// Patterns of paths; none: all files.
        public var globs: [String]?
        /// Nodes; 1 by default.
        public var replicas: Int?
        public var nodeAffinity: NodeAffinity?
        public var tolerations: [Toleration]?
        public var timeoutSeconds: Int?
        /// Deletes the DatasetLoad so long after its end; nil: never.
        public var ttlSecondsAfterFinished: Int?

        var warm: Dataset.Warm {
            var warm = Dataset.Warm()
            warm.replicas = replicas ?? 1
            warm.nodeAffinity = nodeAffinity
            warm.tolerations = tolerations
            warm.timeoutSeconds = timeoutSeconds
            if let globs, !globs.isEmpty {
                warm.distribution = Dictionary(globs.map { ($0, replicas ?? 1) }) { first, _ in first }
            }
            return warm
        }
    }

    public var metadata: ObjectMeta
    public var spec: Spec
    public var status: Dataset.WarmStatus?

    var isFinished: Bool { status?.phase == .completed || status?.phase == .failed }
}
