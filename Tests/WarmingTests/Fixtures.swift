import Controller
import FoundationEssentials
import Kubernetes
import KubernetesTestSupport
import Logging
import Testing

@testable import Warming

let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
let start = 1_800_000_000

func decoded<T: Decodable>(_ json: JSON) -> T { try! JSONDecoder().decode(T.self, from: Data(json.bytes)) }

func node(
    _ name: String, labels: [String: String] = [:], ready: Bool = true, since: Int = 0, taint: String? = nil,
    cordoned: Bool = false, boot: String = "b1"
) -> JSON {
    var json: JSON = [
        "metadata": ["name": .string(name), "labels": JSON(labels), "uid": .string("uid-\(name)")],
        "spec": ["unschedulable": .bool(cordoned)],
        "status": [
            "conditions": [
                [
                    "type": "Ready", "status": ready ? "True" : "Unknown",
                    "lastTransitionTime": .string(Timestamp.at(since)),
                ]
            ], "nodeInfo": ["bootID": .string(boot)],
        ],
    ]
    if let taint { json.set("spec", "taints", to: [["key": .string(taint), "effect": "NoSchedule"]]) }
    return json
}

func nodes(_ jsons: JSON...) -> [ClusterNode] { jsons.map { decoded($0) } }

func warm(
    replicas: Int? = nil, distribution: [String: Int]? = nil, affinity: NodeAffinity? = nil,
    tolerations: [Toleration]? = nil
) -> Dataset.Warm {
    var warm = Dataset.Warm()
    warm.replicas = replicas
    warm.distribution = distribution
    warm.nodeAffinity = affinity
    warm.tolerations = tolerations
    return warm
}

/// A Dataset with the UID "u".
func owner(_ warm: Dataset.Warm, _ status: Dataset.WarmStatus? = nil) -> WarmOwner {
    var dataset: Dataset = decoded([
        "metadata": ["name": "iris", "namespace": "courses", "uid": "u"],
        "spec": ["source": ["s3": ["bucket": "bkt"]], "secretRef": ["name": "keys"]],
    ])
    dataset.status = Dataset.Status()
    dataset.status?.warm = status
    return WarmOwner(dataset, warm: warm)
}

func pod(_ name: String, _ phase: String, message: String? = nil, restarts: Int = 0) -> WarmPod {
    let state: JSON =
        message.map { ["terminated": ["exitCode": phase == "Succeeded" ? 0 : 1, "message": .string($0)]] } ?? [:]
    return decoded([
        "metadata": ["name": .string(name), "namespace": "courses", "uid": .string("uid-\(name)")],
        "status": [
            "phase": .string(phase), "podIP": "127.0.0.1",
            "containerStatuses": [
                phase == "Running" ? ["restartCount": .integer(restarts), "lastState": state] : ["state": state]
            ],
        ],
    ])
}
