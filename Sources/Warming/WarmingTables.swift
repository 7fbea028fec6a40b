import Controller
import Kubernetes

/// What the warm-ups' controller knows of the cluster, and what a change of it makes worth looking at.
struct WarmingTables: Sendable {
    var datasets = ObjectTable<Dataset>()
    var loads = ObjectTable<DatasetLoad>()
    var nodes = ObjectTable<ClusterNode>()
    var pods = ObjectTable<WarmPod>()
    var claims = ObjectTable<PersistentVolumeClaim>()

    // Keys of work: a Dataset's own, and the others with a word before a slash, which no name has.
    private static let loadPrefix = "load/"
    private static let nodePrefix = "node/"

    enum Work: Equatable {
        case dataset(ObjectKey)
        case load(ObjectKey)
        case node(String)
    }

    static func work(_ key: ObjectKey) -> Work {
        if key.name.hasPrefix(loadPrefix) {
            return .load(ObjectKey(namespace: key.namespace, name: String(key.name.dropFirst(loadPrefix.count))))
        }
        if key.name.hasPrefix(nodePrefix) { return .node(String(key.name.dropFirst(nodePrefix.count))) }
        return .dataset(key)
    }

    static func keys(of dataset: Dataset) -> [ObjectKey] { [dataset.key] }
    static func keys(of node: ClusterNode) -> [ObjectKey] {
        [ObjectKey(namespace: nil, name: nodePrefix + node.key.name)]
    }
    static func keys(of load: DatasetLoad) -> [ObjectKey] { [loadKey(load.key)] }

    static func loadKey(_ key: ObjectKey) -> ObjectKey {
        ObjectKey(namespace: key.namespace, name: loadPrefix + key.name)
    }

    /// Of a pod or a claim: whoever owns it.
    static func keys(ownersOf object: some KubernetesObject) -> [ObjectKey] {
        (object.metadata.ownerReferences ?? []).compactMap { owner in
            let key = ObjectKey(namespace: object.key.namespace, name: owner.name)
            switch owner.kind {
            case "Dataset": return key
            case "DatasetLoad": return loadKey(key)
            default: return nil
            }
        }
    }

    func pods(of owner: WarmOwner) -> [WarmPod] {
        pods.all.filter {
            $0.metadata.labels?[WarmPods.ownerLabel] == owner.uid && $0.key.namespace == owner.key.namespace
        }
        .sorted { $0.key < $1.key }
    }

    func claims(of owner: WarmOwner) -> [PersistentVolumeClaim] {
        claims.all.filter {
            $0.metadata.labels?[WarmPods.ownerLabel] == owner.uid && $0.key.namespace == owner.key.namespace
        }.sorted { $0.key < $1.key }
    }

    /// Everything whose choice of nodes may be another now.
    var everyWarmUp: [ObjectKey] {
        datasets.all.filter { $0.spec.warm != nil }.map(\.key)
            + loads.all.filter { !$0.isFinished }.map { Self.loadKey($0.key) }
    }
}
