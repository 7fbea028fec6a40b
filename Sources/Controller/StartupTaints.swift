import Kubernetes
import Logging
import PrometheusMetrics

/// Takes the startup taint off a node once the kubelet there knows our driver: pods that tolerate nothing come no sooner
/// than their volumes can be mounted. The node plugin can't do that itself, as it has no rights at the API server.
public final class StartupTaints: Sendable {
    private let client: Client
    private let taint: String
    private let driver: String
    private let logger: Logger
    private let loop: ControlLoop
    private let nodes: ObjectTable<ClusterNode>
    private let registrations: ObjectTable<CSINode>

    /// `taint`: its key, whatever its value and effect.
    public init(client: Client, taint: String, driver: String, metrics: Registry, logger: Logger) {
        self.client = client
        self.taint = taint
        self.driver = driver
        self.logger = logger
        loop = ControlLoop(name: "startup-taints", client: client, workers: 2, metrics: metrics, logger: logger)
        // Both have the node's name.
        nodes = loop.watch(ClusterNode.self) { [$0.key] }
        registrations = loop.watch(CSINode.self) { [$0.key] }
    }

    /// Works until the task is cancelled.
    public func run() async { await loop.run { await self.reconcile($0) } }

    public var isHealthy: Bool { loop.isHealthy }

    private func reconcile(_ key: ObjectKey) async -> WorkOutcome {
        guard let node = nodes[key], let patch = Self.patch(node, registrations[key], taint: taint, driver: driver)
        else {
            return .done
        }
        do throws(APIError) {
            try await client.patch(ClusterNode.self, key.name, merge: patch)
            logger.info("startup taint removed", metadata: ["node": "\(key.name)"])
            return .done
        } catch {
            if error.isNotFound { return .done }
            logger.log(
                level: error.isConflict ? .debug : .warning, "startup taint not removed",
                metadata: ["node": "\(key.name)", "error": "\(error)"])
            return .failed(atLeastMs: (error.retryAfterSeconds ?? 0) * 1000)
        }
    }

    /// A merge patch that takes the taint off this very version of the node, as others set taints as well; nil where
    /// there is none or the driver hasn't registered.
    static func patch(_ node: ClusterNode, _ registration: CSINode?, taint: String, driver: String) -> JSON? {
        guard let taints = node.spec?.taints, taints.contains(where: { $0.key == taint }),
            registration?.spec?.drivers?.contains(where: { $0.name == driver }) == true,
            let version = node.metadata.resourceVersion
        else { return nil }
        let rest = taints.filter { $0.key != taint }.map { taint in
            var json: JSON = ["key": .string(taint.key), "effect": .string(taint.effect)]
            json["value"] = taint.value.map { .string($0) }
            json["timeAdded"] = taint.timeAdded.map { .string($0) }
            return json
        }
        return [
            "metadata": ["resourceVersion": .string(version)],
            "spec": ["taints": rest.isEmpty ? .null : .array(rest)],
        ]
    }
}
