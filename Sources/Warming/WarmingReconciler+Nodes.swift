import Controller
import Kubernetes

/// Labels of nodes, and what happens to nodes.
extension WarmingReconciler {
    /// Takes the labels that a new status doesn't want from nodes that have them, or had them by the old one.
    func takeLabels(from owner: WarmOwner, keeping status: Dataset.WarmStatus) async throws(APIError) {
        var extra: [String: Set<String>] = [:]
        for node in tables.nodes.all {
            extra[node.key.name, default: []].formUnion(WarmLabels.keys(of: owner.key, on: node))
        }
        for node in owner.status?.nodes ?? [] {
            extra[node.name, default: []].formUnion(WarmLabels.wanted(node, of: owner.key).keys)
        }
        for node in status.nodes ?? [] { extra[node.name]?.subtract(WarmLabels.wanted(node, of: owner.key).keys) }
        for (name, keys) in extra.sorted(by: { $0.key < $1.key }) where !keys.isEmpty {
            try await label(name, Dictionary(keys.map { ($0, JSON.null) }) { $1 })
        }
    }

    func giveLabels(_ status: Dataset.WarmStatus, _ dataset: ObjectKey) async throws(APIError) {
        for node in status.nodes ?? [] {
            let wanted = WarmLabels.wanted(node, of: dataset)
            let labels = tables.nodes[ObjectKey(namespace: nil, name: node.name)]?.metadata.labels ?? [:]
            guard wanted.contains(where: { labels[$0.key] != $0.value }) else { continue }
            try await label(node.name, wanted.mapValues { .string($0) })
        }
    }

    func label(_ node: String, _ labels: [String: JSON]) async throws(APIError) {
        let patched = try await found { () async throws(APIError) in
            try await self.client.patch(ClusterNode.self, node, merge: ["metadata": ["labels": .object(labels)]])
        }
        if let patched { tables.nodes.set(patched) }
    }

    /// A node came, changed or went.
    func reconcile(node name: String) async throws(APIError) -> WorkOutcome {
        let node = tables.nodes[ObjectKey(namespace: nil, name: name)]
        let isNews = nodesSeen.withLock { seen in
            defer { seen[name] = node.map(NodeTraits.init) }
            return seen[name] != node.map(NodeTraits.init)
        }
        if isNews { for key in tables.everyWarmUp { enqueue(key) } }
        guard let node else { return .done }
        let labels = node.metadata.labels ?? [:]
        for dataset in tables.datasets.all where !isNews {
            // Somebody changed a label that is ours.
            let entry = dataset.status?.warm?.nodes?.first { $0.name == name }
            let wanted = entry.map { WarmLabels.wanted($0, of: dataset.key) } ?? [:]
            if wanted.contains(where: { labels[$0.key] != $0.value }) { enqueue(dataset.key) }
        }
        // Of Datasets that are gone without our having seen it.
        let known = Set(tables.datasets.all.filter(Self.concerns).map { WarmLabels.key($0.key) })
        let orphans = labels.keys.filter { key in
            WarmLabels.isOurs(key) && !known.contains(String(key.prefix { $0 != "_" }))
        }
        if !orphans.isEmpty { try await label(name, Dictionary(orphans.map { ($0, JSON.null) }) { $1 }) }
        return .done
    }
}

/// What of a node matters to who chooses nodes.
struct NodeTraits: Equatable {
    let labels: [String: String]?
    let spec: ClusterNode.Spec?
    let isReady: Bool
    let isBeingDeleted: Bool
    let identity: [String?]

    init(_ node: ClusterNode) {
        labels = node.metadata.labels?.filter { !WarmLabels.isOurs($0.key) }
        spec = node.spec
        isReady = node.isReady
        isBeingDeleted = node.metadata.isBeingDeleted
        identity = [node.metadata.uid, node.status?.nodeInfo?.bootID]
    }
}
