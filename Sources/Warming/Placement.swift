import Controller
import Kubernetes

/// Which node gets which part of the data. A pure decision: the same for the same cluster, and no node is left without
/// need.
struct Placement: Equatable {
    /// A part of the data, on so many nodes. Nil: all files.
    struct Share: Equatable {
        var glob: String?
        var replicas: Int
    }

    /// Patterns by node; nil in it: all files.
    var globs: [String: Set<String?>] = [:]
    /// Why it isn't all that was asked for.
    var problem: Problem?

    enum Problem: Equatable {
        case tooFewNodes(wanted: Int, found: Int)
        /// More nodes for one pattern than there are to be at all.
        case shareTooLarge(glob: String, replicas: Int, nodes: Int)
    }

    /// A node that isn't Ready is waited for so long before another takes its place.
    static let graceSeconds = 300

    static func shares(_ warm: Dataset.Warm) -> [Share] {
        guard let distribution = warm.distribution, !distribution.isEmpty else {
            return [Share(glob: nil, replicas: warm.replicas ?? 1)]
        }
        return distribution.sorted { $0.key < $1.key }.map { Share(glob: $0.key, replicas: max(0, $0.value)) }
    }

    /// Nodes that are to have some of the data.
    static func nodeCount(_ warm: Dataset.Warm) -> Int {
        let most = shares(warm).reduce(0) { $0 + $1.replicas }
        return max(0, min(warm.replicas ?? most, most))
    }

    /// - Parameters:
    ///   - current: patterns by node, as they are.
    ///   - seed: spreads Datasets over the nodes.
    ///   - now: in seconds since 1970.
    static func decide(
        _ warm: Dataset.Warm, nodes: [ClusterNode], current: [String: Set<String?>], seed: String, now: Int
    ) -> Placement {
        let shares = shares(warm)
        let count = nodeCount(warm)
        let usable = nodes.filter { node in
            guard warm.nodeAffinity?.allows(node) ?? true else { return false }
            let name = node.metadata.name ?? ""
            // A cordon or a taint that comes later keeps new data away; what is there stays, as the node does.
            if current[name] != nil { return isAlive(node, now: now) }
            return node.isReady && node.accepts(warm.tolerations ?? [])
        }
        func rank(_ node: ClusterNode) -> (Int, Int, String) {
            let name = node.metadata.name ?? ""
            return (current[name] == nil ? 1 : 0, -(warm.nodeAffinity?.score(node) ?? 0), SHA256.hex(seed + "/" + name))
        }
        let chosen = usable.map { (rank($0), $0.metadata.name ?? "") }.sorted { $0.0 < $1.0 }.prefix(count).map(\.1)
        var placement = Placement()
        if chosen.count < count { placement.problem = .tooFewNodes(wanted: count, found: chosen.count) }
        if let share = shares.first(where: { $0.replicas > count }), let glob = share.glob {
            placement.problem = .shareTooLarge(glob: glob, replicas: share.replicas, nodes: count)
        }
        for share in shares {
            let kept = chosen.filter { current[$0]?.contains(share.glob) == true }.prefix(share.replicas)
            // The emptiest first, so that parts are spread.
            let others = chosen.enumerated().filter { !kept.contains($0.element) }.sorted {
                (placement.globs[$0.element]?.count ?? 0, $0.offset) < (
                    placement.globs[$1.element]?.count ?? 0, $1.offset
                )
            }
            for node in kept + others.prefix(max(0, share.replicas - kept.count)).map(\.element) {
                placement.globs[node, default: []].insert(share.glob)
            }
        }
        placement.spread(over: chosen)
        return placement
    }

    /// Nodes that have several parts, as there were too few nodes once, hand one each to nodes that have none.
    private mutating func spread(over chosen: [String]) {
        for node in chosen where globs[node] == nil {
            let fullest = chosen.max { (globs[$0]?.count ?? 0) < (globs[$1]?.count ?? 0) }
            guard let fullest, let parts = globs[fullest], parts.count > 1 else { return }
            let part = parts.max { ($0 ?? "") < ($1 ?? "") }!
            globs[fullest]?.remove(part)
            globs[node] = [part]
        }
    }

    private static func isAlive(_ node: ClusterNode, now: Int) -> Bool {
        if node.metadata.isBeingDeleted { return false }
        guard !node.isReady else { return true }
        let since = node.readiness?.lastTransitionTime.flatMap(Timestamp.seconds) ?? 0
        return now - since < graceSeconds
    }
}
