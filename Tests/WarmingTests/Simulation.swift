import Controller
import Kubernetes
import KubernetesTestSupport
import Testing

@testable import Warming

/// A cluster with nodes that come and go, kubelets that run the pods, people who change their minds, and controllers that
/// are killed at API calls.
final class Simulation {
    let server: APIServer
    let clock = HandClock()
    private var random: SplitMix
    private var controllers: [Stepper] = []
    private var told: [String] = []
    private var serial = 0
    /// The most nodes that anybody ever asked for, by the Dataset's UID.
    private var most: [String: Int] = [:]

    init(seed: UInt64) throws {
        random = SplitMix(seed: seed &* 0x9e37_79b9)
        server = APIServer(seed: seed, automatic: false)
        let definitions = Resource(
            group: "apiextensions.k8s.io", version: "v1", plural: "customresourcedefinitions",
            kind: "CustomResourceDefinition", isNamespaced: false)
        for name in ["datasets", "datasetloads"] {
            let text = try String(
                contentsOf: root.appending(path: "charts/millrace/files/\(name).yaml"), encoding: .utf8)
            server.create(definitions, try JSON(yaml: text))
        }
        server.create(Namespace.resource, ["metadata": ["name": "courses"]])
        for i in 0..<4 { server.create(ClusterNode.resource, node("n\(i)")) }
        controllers = [Stepper(server, clock)]
    }

    func story() -> String { told.suffix(60).joined(separator: "\n") }
    private func tell(_ text: String) { told.append("\(clock.now - start) s: \(text)") }
    private func pick<T>(_ items: [T]) -> T? { items.randomElement(using: &random) }
    private func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &random) < percent }
    private func names(_ resource: Resource) -> [String] {
        server.objects(resource).compactMap { $0.at("metadata", "name")?.string }
    }

    func step() async {
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<12: person()
        case 12..<24: cluster()
        case 24..<36: _ = server.step(choice: Int.random(in: 0..<64, using: &random))
        case 36..<58:
            pick(controllers)!.deliver(pick(Stepper.kinds)!, count: Int.random(in: 1...5, using: &random))
        case 58..<88:
            let controller = pick(controllers)!
            if chance(15) {
                controller.dieAt(call: Int.random(in: 1...6, using: &random), after: chance(50))
            }
            await controller.work(choice: Int.random(in: 0..<16, using: &random))
            controllers.removeAll { $0.isDead }
            if controllers.isEmpty {
                tell("controller died, another starts")
                controllers = [Stepper(server, clock)]
            }
        case 88..<94: clock.advance(Int.random(in: 1...400, using: &random))
        case 94..<96:
            if controllers.count == 1 {
                tell("two controllers")
                controllers.append(Stepper(server, clock))
            } else {
                controllers.removeFirst()
            }
        default:
            let effects: [Fault.Effect] = [
                .status(500, reason: "InternalError"), .status(409, reason: "Conflict"), .lostRequest, .lostAnswer,
                .status(403, reason: "Forbidden"),
            ]
            server.inject(Fault(verb: pick(["create", "delete", "patch", "get", nil]) ?? nil, pick(effects)!))
        }
    }

    // MARK: People

    private func person() {
        serial += 1
        switch Int.random(in: 0..<8, using: &random) {
        case 0, 1, 2:
            let name = pick(["d0", "d1"])!
            let warm = wish()
            if names(Dataset.resource).contains(name) {
                tell("change \(name): \(warm)")
                server.patch(Dataset.resource, name, namespace: "courses", ["spec": ["warm": warm]])
            } else {
                tell("dataset \(name): \(warm)")
                server.create(
                    Dataset.resource,
                    [
                        "metadata": ["name": .string(name)],
                        "spec": [
                            "source": ["s3": ["bucket": "bkt", "endpoint": "http://127.0.0.1:9"]],
                            "secretRef": ["name": "keys"],
                            "warm": .object((warm.object ?? [:]).filter { $0.value != .null }),
                        ],
                    ], namespace: "courses")
            }
            note(name)
        case 3:
            guard let name = pick(names(Dataset.resource)) else { return }
            tell("\(name) isn't to be warm any more")
            server.patch(Dataset.resource, name, namespace: "courses", ["spec": ["warm": .null]])
        case 4:
            guard chance(60), let name = pick(names(Dataset.resource)) else { return }
            tell("delete \(name)")
            server.delete(Dataset.resource, name, namespace: "courses")
        case 5:
            guard let name = pick(names(Dataset.resource)) else { return }
            tell("another source for \(name)")
            server.patch(
                Dataset.resource, name, namespace: "courses",
                ["spec": ["source": ["s3": ["prefix": .string("p\(serial)/")]]]])
        case 6:
            tell("load l\(serial)")
            server.create(
                DatasetLoad.resource,
                [
                    "metadata": ["name": .string("l\(serial)")],
                    "spec": ["dataset": .string(pick(["d0", "d1"])!), "replicas": 2, "ttlSecondsAfterFinished": 60],
                ], namespace: "courses")
        default:
            guard let name = pick(names(ClusterNode.resource)) else { return }
            tell("somebody takes labels from \(name)")
            let labels = server.object(ClusterNode.resource, name)?.at("metadata", "labels")?.object ?? [:]
            server.patch(
                ClusterNode.resource, name, ["metadata": ["labels": .object(labels.mapValues { _ in .null })]])
        }
    }

    private func wish() -> JSON {
        chance(70)
            ? ["replicas": .integer(Int.random(in: 0...5, using: &random)), "distribution": .null]
            : [
                "replicas": chance(50) ? .null : .integer(Int.random(in: 2...4, using: &random)),
                "distribution": ["a/*": 1, "b/*": 2],
            ]
    }

    private func note(_ name: String) {
        guard let json = server.object(Dataset.resource, name, namespace: "courses") else { return }
        let dataset: Dataset = decoded(json)
        guard let warm = dataset.spec.warm, let uid = dataset.metadata.uid else { return }
        most[uid] = max(most[uid] ?? 0, Placement.nodeCount(warm))
    }

    // MARK: Nodes and kubelets

    private func cluster() {
        serial += 1
        let nodes = ClusterNode.resource
        switch Int.random(in: 0..<10, using: &random) {
        case 0:
            tell("node m\(serial) comes")
            server.create(nodes, node("m\(serial)"))
        case 1:
            guard names(nodes).count > 1, let name = pick(names(nodes)) else { return }
            tell("node \(name) goes")
            server.delete(nodes, name)
            collectPods()
        case 2:
            guard let name = pick(names(nodes)) else { return }
            let isReady = chance(50)
            tell("node \(name) is \(isReady ? "" : "not ")Ready")
            let change = node(name, ready: isReady, since: clock.now, boot: chance(20) ? "b\(serial)" : "b1")
            patchStatus(nodes, name, change["status"]!)
        case 3: collectVolumes()
        default: kubelet()
        }
    }

    /// Pods of nodes that aren't there are deleted by Kubernetes.
    private func collectPods() {
        let known = Set(names(ClusterNode.resource))
        for pod in server.objects(WarmPod.resource) where !known.contains(Self.placement(of: pod)) {
            server.delete(WarmPod.resource, pod.at("metadata", "name")!.string!, namespace: "courses")
        }
    }

    /// As the controller of claims does, which deletes the volumes of all claims that are gone. True where there was one.
    @discardableResult
    private func collectVolumes() -> Bool {
        let released = server.objects(PersistentVolume.resource).filter {
            $0.at("status", "phase")?.string == "Released"
                && $0.at("spec", "persistentVolumeReclaimPolicy")?.string == "Delete"
        }
        for volume in released { server.delete(PersistentVolume.resource, volume.at("metadata", "name")!.string!) }
        return !released.isEmpty
    }

    static func placement(of pod: JSON) -> String {
        let terms = pod.at("spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")?[
            "nodeSelectorTerms"]?.array
        return terms?.first?["matchFields"]?.array?.first?["values"]?.array?.first?.string ?? ""
    }

    private func kubelet(healthy: Bool = false) {
        let pods = server.objects(WarmPod.resource).filter {
            !["Succeeded", "Failed"].contains($0.at("status", "phase")?.string ?? "")
        }
        guard let pod = pick(pods), let name = pod.at("metadata", "name")?.string else { return }
        let next: String
        switch pod.at("status", "phase")?.string {
        case "Running": next = healthy || chance(70) ? "Succeeded" : "Failed"
        default: next = "Running"
        }
        tell("pod \(name) is \(next)")
        let words = "{\"phase\":\"\(next)\",\"objects\":1,\"bytes\":1,\"message\":\"m\"}"
        patchStatus(
            WarmPod.resource, name, namespace: "courses",
            [
                "phase": .string(next),
                "containerStatuses": [["state": ["terminated": ["message": .string(words)]]]],
            ])
    }

    /// A status is a subresource: a patch of the object leaves it alone.
    private func patchStatus(_ resource: Resource, _ name: String, namespace: String? = nil, _ status: JSON) {
        var request = APIRequest(
            method: "PATCH", target: resource.path(namespace: namespace, name: name, subresource: "status"),
            body: (["status": status] as JSON).bytes)
        request.headers = [("Content-Type", "application/merge-patch+json")]
        _ = server.perform(request)
    }

    // MARK: The end

    /// Faults stop, all nodes are Ready, one controller leads, and everybody does what is left to do.
    func finish() async {
        server.clearFaults()
        tell("settling")
        for name in names(ClusterNode.resource) {
            patchStatus(ClusterNode.resource, name, node(name, since: clock.now)["status"]!)
        }
        let last = controllers.last!
        last.dieAt(call: .max, after: false)
        for _ in 0..<6000 {
            var isBusy = false
            while server.step() { isBusy = true }
            for kind in Stepper.kinds where last.deliver(kind) { isBusy = true }
            if !last.isIdle {
                await last.work()
                isBusy = true
            }
            if collectVolumes() || isBusy { continue }
            collectPods()
            let running = server.objects(WarmPod.resource).contains {
                !["Succeeded", "Failed"].contains($0.at("status", "phase")?.string ?? "")
            }
            if running {
                kubelet(healthy: true)
            } else if let due = last.nextDue, clock.now < start + 2_000_000 {
                clock.advance(max(1, due - clock.now))
                await last.work()
                // What is only looked at again and again doesn't end.
                if due > (settledAt ?? .max) { return }
                if problems().isEmpty { settledAt = settledAt ?? clock.now + 120 }
            } else {
                return
            }
        }
    }
    private var settledAt: Int?

    /// What must hold at every moment.
    func safetyProblem() -> String? {
        for json in server.objects(Dataset.resource) {
            let dataset: Dataset = decoded(json)
            note(dataset.key.name)
            let labelled = server.objects(ClusterNode.resource).filter {
                !WarmLabels.keys(of: dataset.key, on: decoded($0)).isEmpty
            }.compactMap { $0.at("metadata", "name")?.string }
            if labelled.count > most[dataset.metadata.uid ?? ""] ?? 0 {
                return "\(dataset.key) is on \(labelled), more than anybody asked for"
            }
            let known = Set((dataset.status?.warm?.nodes ?? []).map(\.name))
            // Labels of one of the name that was deleted are its finalizer's.
            if !Set(labelled).isSubset(of: known) {
                return "\(dataset.key): \(labelled) labelled, the status knows \(known)"
            }
        }
        return nil
    }

    /// What must hold once all is settled.
    func problems() -> [String] {
        var problems: [String] = []
        let nodes = server.objects(ClusterNode.resource).map { decoded($0) as ClusterNode }
        var labels: [String: [String: String]] = [:]
        for json in server.objects(Dataset.resource) {
            let dataset: Dataset = decoded(json)
            if dataset.metadata.isBeingDeleted { problems.append("\(dataset.key) is stuck in deletion") }
            guard let warm = dataset.spec.warm else {
                if dataset.status?.warm != nil { problems.append("\(dataset.key) has a status of what it isn't") }
                continue
            }
            let status = dataset.status?.warm
            let wanted = min(Placement.nodeCount(warm), nodes.count)
            if status?.readyReplicas != wanted {
                problems.append("\(dataset.key): \(status?.readyReplicas ?? -1) of \(wanted)")
            }
            for entry in status?.nodes ?? [] {
                labels[entry.name, default: [:]].merge(WarmLabels.wanted(entry, of: dataset.key)) { $1 }
            }
        }
        for node in nodes {
            let actual = (node.metadata.labels ?? [:]).filter { WarmLabels.isOurs($0.key) }
            if actual != labels[node.key.name] ?? [:] {
                problems.append("node \(node.key): \(actual), the status says \(labels[node.key.name] ?? [:])")
            }
        }
        for pod in server.objects(WarmPod.resource) { problems.append("pod \(pod.at("metadata", "name")!) is left") }
        let owners = Set(
            (server.objects(Dataset.resource) + server.objects(DatasetLoad.resource)).compactMap {
                $0.at("metadata", "uid")?.string
            })
        var claims: [String: Int] = [:]
        for claim in server.objects(PersistentVolumeClaim.resource) {
            let owner = claim.at("metadata", "labels", WarmPods.ownerLabel)?.string ?? ""
            claims[owner, default: 0] += 1
            if !owners.contains(owner) || claims[owner]! > 1 {
                problems.append("claim \(claim.at("metadata", "name")!) is left")
            }
        }
        for volume in server.objects(PersistentVolume.resource) where volume.at("status", "phase")?.string != "Bound" {
            problems.append("volume \(volume.at("metadata", "name")!) is \(volume.at("status", "phase") ?? .null)")
        }
        for load in server.objects(DatasetLoad.resource) {
            let exists = names(Dataset.resource).contains(load.at("spec", "dataset")?.string ?? "")
            if exists { problems.append("load \(load.at("metadata", "name")!) isn't done") }
        }
        return problems
    }
}
