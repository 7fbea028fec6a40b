import Controller
import Kubernetes

/// The labels of nodes that have a Dataset's data, or are getting it. By them pods go where the data is.
enum WarmLabels {
    static let domain = "warm.millrace.dev"
    static let warming = "warming"
    static let warm = "warm"
    /// Kubernetes allows 63 characters behind the domain; a pattern's digest takes nine.
    private static let mostNameCharacters = 54

    /// `warm.millrace.dev/NAMESPACE.DATASET`, for some of the files with a digest of their pattern behind. A namespace has
    /// no dot and neither name an underscore, so no two are the same.
    static func key(_ dataset: ObjectKey, glob: String? = nil) -> String {
        let full = "\(dataset.namespace).\(dataset.name)"
        // Long names are cut and get a digest of the whole.
        let name =
            full.utf8.count <= mostNameCharacters
            ? full : "\(full.prefix(mostNameCharacters - 17))-\(SHA256.hex(full).prefix(16))"
        return "\(domain)/\(name)" + (glob.map { "_" + SHA256.hex($0).prefix(8) } ?? "")
    }

    /// The labels of a node that are this Dataset's.
    static func keys(of dataset: ObjectKey, on node: ClusterNode) -> [String] {
        let key = key(dataset)
        return (node.metadata.labels ?? [:]).keys.filter { $0 == key || $0.hasPrefix(key + "_") }.sorted()
    }

    static func isOurs(_ key: String) -> Bool { key.hasPrefix(domain + "/") }

    /// Nodes that have it, or are getting it.
    static func affinity(_ key: String) -> NodeAffinity {
        NodeAffinity(required: [.init(matchExpressions: [.init(key: key, operator: "Exists")])])
    }

    /// What a Dataset's warm-up wants on a node.
    static func wanted(_ node: Dataset.WarmNode, of dataset: ObjectKey) -> [String: String] {
        let value = node.phase == .warm ? warm : warming
        return Dictionary((node.globs.map { $0.map(Optional.some) } ?? [nil]).map { (key(dataset, glob: $0), value) }) {
            first, _ in first
        }
    }
}
