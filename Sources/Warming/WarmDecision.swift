import Controller
import Kubernetes

/// What one look at a warm-up leads to: its status, which says what each node shall have, and the pods for that. No I/O.
struct WarmDecision {
    var status = Dataset.WarmStatus()
    var creations: [(node: Dataset.WarmNode, attempt: String)] = []
    var deletions: [WarmPod] = []
    /// When to look again, though nothing may change in the cluster; nil: never.
    var againMs: Int?
    /// For the condition `Warm`.
    var reason = "InProgress"

    private static let firstRetrySeconds = 60
    private static let longestRetrySeconds = 1800
    /// A DatasetLoad's node is given up after so many pods that failed; a Dataset's never is.
    private static let attemptsOfLoads = 3
    private static let progressMs = 5_000

    struct Cluster {
        var nodes: [ClusterNode]
        /// The owner's.
        var pods: [WarmPod]
        /// What pods said of themselves, by their names.
        var progress: [String: WarmProgress] = [:]
        /// Seconds since 1970.
        var now: Int
    }

    /// - Parameters:
    ///   - view: a digest of what is mounted.
    ///   - run: the time of the schedule that this is about.
    init(_ owner: WarmOwner, _ cluster: Cluster, view: String, run: String) {
        let old = Dictionary((owner.status?.nodes ?? []).map { ($0.name, $0) }) { $1 }
        let placement = Placement.decide(
            owner.warm, nodes: cluster.nodes, current: old.mapValues(Self.globs), seed: owner.uid, now: cluster.now)
        let pods = Dictionary(cluster.pods.map { ($0.key.name, $0) }) { $1 }
        let nodes = Dictionary(cluster.nodes.map { ($0.key.name, $0) }) { $1 }
        var wantedPods: Set<String> = []
        status.nodes = placement.globs.sorted { $0.key < $1.key }.map { name, globs in
            let attempt = Self.attempt(owner, nodes[name], globs, view: view, run: run)
            var entry = old[name] ?? Dataset.WarmNode(name: name)
            if entry.attempt != attempt {
                entry = Dataset.WarmNode(name: name)
                entry.attempt = attempt
            }
            entry.globs = globs.contains(nil) ? nil : globs.compactMap { $0 }.sorted()
            let podName = WarmPods.name(owner, attempt)
            let before = entry.phase
            look(&entry, pods[podName], cluster.progress[podName], owner, now: cluster.now)
            if entry.phase != before || entry.since == nil { entry.since = Timestamp.at(cluster.now) }
            wantedPods.insert(podName)
            return entry
        }
        deletions += cluster.pods.filter { !wantedPods.contains($0.key.name) && !$0.metadata.isBeingDeleted }
        summarize(owner, placement)
        // A node that is waited for: the cluster doesn't tell when its time is over.
        if placement.globs.keys.contains(where: { nodes[$0]?.isReady != true }) { lookAgain(afterMs: 30_000) }
    }

    private static func globs(_ node: Dataset.WarmNode) -> Set<String?> {
        node.globs.map { Set($0.map(Optional.some)) } ?? [nil]
    }

    /// The same as long as the node's cache may be taken for what it was: a machine that was started anew is looked at
    /// again, which costs little where the cache outlived that.
    private static func attempt(
        _ owner: WarmOwner, _ node: ClusterNode?, _ globs: Set<String?>, view: String, run: String
    ) -> String {
        let parts = [
            owner.uid, node?.metadata.uid ?? "", owner.isKept ? node?.status?.nodeInfo?.bootID ?? "" : "", view, run,
            globs.map { $0 ?? "" }.sorted().joined(separator: "\n"),
        ]
        return String(SHA256.hex(parts.joined(separator: "\u{0}")).prefix(12))
    }

    // MARK: one node

    private mutating func look(
        _ entry: inout Dataset.WarmNode, _ pod: WarmPod?, _ progress: WarmProgress?, _ owner: WarmOwner, now: Int
    ) {
        switch entry.phase {
        case .warm: remove(pod)
        case .failed:
            remove(pod)
            let failures = entry.failures ?? 1
            if !owner.isKept && failures >= Self.attemptsOfLoads { return }
            let pause = min(Self.longestRetrySeconds, Self.firstRetrySeconds << min(failures - 1, 8))
            let due = (entry.since.flatMap(Timestamp.seconds) ?? 0) + pause
            guard now >= due else { return lookAgain(afterMs: (due - now) * 1000) }
            guard pod == nil else { return }
            entry.phase = .pending
            create(&entry)
        case .pending, .warming:
            guard let pod else { return create(&entry) }
            guard !pod.metadata.isBeingDeleted else { return }
            follow(&entry, pod, progress)
        }
    }

    private mutating func create(_ entry: inout Dataset.WarmNode) {
        creations.append((entry, entry.attempt ?? ""))
        lookAgain(afterMs: 30_000)
    }

    private mutating func remove(_ pod: WarmPod?) {
        if let pod, !pod.metadata.isBeingDeleted { deletions.append(pod) }
    }

    private mutating func follow(_ entry: inout Dataset.WarmNode, _ pod: WarmPod, _ progress: WarmProgress?) {
        switch pod.status?.phase {
        case "Succeeded":
            entry.take(pod.status?.lastWords.flatMap(WarmProgress.init(text:)))
            entry.phase = .warm
            entry.failures = nil
            entry.message = nil
            // To delete the pod, once this is written.
            lookAgain(afterMs: 1)
        case "Failed":
            let words = pod.status?.lastWords
            let report = words.flatMap(WarmProgress.init(text:))
            entry.take(report)
            entry.phase = .failed
            entry.failures = (entry.failures ?? 0) + 1
            entry.message = String((report?.message ?? words ?? "its pod failed").prefix(500))
            lookAgain(afterMs: 1)
        case "Running":
            entry.phase = .warming
            entry.take(progress)
            let failure = (pod.status?.container?.restartCount ?? 0) > 0 ? pod.status?.lastWords : nil
            entry.message = failure.map { String((WarmProgress(text: $0)?.message ?? $0).prefix(500)) }
            lookAgain(afterMs: Self.progressMs)
        default:
            entry.message = pod.status?.lastWords.map { String($0.prefix(500)) }
            lookAgain(afterMs: 30_000)
        }
    }

    private mutating func lookAgain(afterMs ms: Int) { againMs = min(againMs ?? .max, max(1, ms)) }

    // MARK: all of them

    private mutating func summarize(_ owner: WarmOwner, _ placement: Placement) {
        let nodes = status.nodes ?? []
        status.replicas = Placement.nodeCount(owner.warm)
        status.readyReplicas = nodes.count { $0.phase == .warm }
        if owner.isKept {
            status.shares = Placement.shares(owner.warm).map { share in
                let label = WarmLabels.key(owner.key, glob: share.glob)
                return Dataset.WarmShare(
                    glob: share.glob, replicas: share.replicas,
                    readyReplicas: nodes.count { $0.phase == .warm && Self.globs($0).contains(share.glob) },
                    label: label, nodeAffinity: WarmLabels.affinity(label))
            }
            if status.shares?.first?.glob == nil { status.nodeAffinity = status.shares?.first?.nodeAffinity }
        }
        let failed = nodes.filter { $0.phase == .failed }
        if let problem = placement.problem {
            (status.phase, reason, status.message) = (.failed, problem.reason, problem.message)
            // Nodes may come, or become Ready, for which the cluster tells us; a grace period that ends, it doesn't.
            lookAgain(afterMs: 30_000)
        } else if let first = failed.first {
            status.phase = .failed
            reason = "Failed"
            status.message = "\(failed.count) of \(nodes.count) nodes failed; \(first.name): \(first.message ?? "?")"
        } else if status.readyReplicas == nodes.count {
            (status.phase, reason) = (.completed, "Complete")
            status.message = "The data is on \(nodes.count) \(nodes.count == 1 ? "node" : "nodes")."
        } else {
            status.phase = nodes.contains { $0.phase != .pending } ? .running : .pending
            status.message =
                "\(status.readyReplicas) of \(nodes.count) nodes have the data; pods may start on all of them."
        }
        if !owner.isKept, nodes.contains(where: { $0.phase == .pending || $0.phase == .warming }) {
            // One that failed isn't the end of a DatasetLoad while others go on.
            if status.phase == .failed { status.phase = .running }
        } else if !owner.isKept, failed.contains(where: { ($0.failures ?? 1) < Self.attemptsOfLoads }) {
            status.phase = .running
        }
    }
}

extension Placement.Problem {
    var reason: String {
        switch self {
        case .tooFewNodes: "TooFewNodes"
        case .shareTooLarge: "InvalidDistribution"
        }
    }

    var message: String {
        switch self {
        case .tooFewNodes(let wanted, let found):
            "spec.warm asks for \(wanted) nodes, but only \(found) match: lower replicas, or widen nodeAffinity and "
                + "tolerations, or add nodes that are Ready."
        case .shareTooLarge(let glob, let replicas, let nodes):
            "spec.warm.distribution asks for \"\(glob.prefix(100))\" on \(replicas) nodes, but spec.warm.replicas is "
                + "\(nodes)."
        }
    }
}

/// How a pod says that it gets on.
struct WarmProgress: Equatable, Sendable {
    var objects: Int?
    var objectsTotal: Int?
    var bytes: Int?
    var bytesTotal: Int?
    var message: String?

    init?(text: String) { self.init(report: try? JSON(parsing: Array(text.utf8))) }

    init?(report json: JSON?) {
        guard let json, json["phase"]?.string != nil else { return nil }
        objects = json["objects"]?.integer
        objectsTotal = json["objectsTotal"]?.integer
        bytes = json["bytes"]?.integer
        bytesTotal = json["bytesTotal"]?.integer
        message = json["message"]?.string.flatMap { $0.isEmpty ? nil : $0 }
    }
}

extension Dataset.WarmNode {
    fileprivate mutating func take(_ progress: WarmProgress?) {
        guard let progress else { return }
        objects = progress.objects ?? objects
        objectsTotal = progress.objectsTotal ?? objectsTotal
        bytes = progress.bytes ?? bytes
        bytesTotal = progress.bytesTotal ?? bytesTotal
    }
}
