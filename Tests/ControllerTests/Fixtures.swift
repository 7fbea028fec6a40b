import FoundationEssentials
import Kubernetes
import KubernetesTestSupport
import Testing

@testable import Controller

/// The repository's root, for files that tests read.
let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

func text(of path: String) throws -> String {
    try String(contentsOf: root.appending(path: path), encoding: .utf8)
}

let definitions = Resource(
    group: "apiextensions.k8s.io", version: "v1", plural: "customresourcedefinitions",
    kind: "CustomResourceDefinition", isNamespaced: false)

/// Waits until something holds; fails the test after ten seconds.
func eventually(_ what: String, sourceLocation: SourceLocation = #_sourceLocation, _ condition: () -> Bool) async {
    for _ in 0..<2000 {
        if condition() { return }
        try? await Task.sleep(for: .milliseconds(5))
    }
    Issue.record("never: \(what)", sourceLocation: sourceLocation)
}

extension APIServer {
    /// With the chart's CRD, namespaces and classes: `courses` has the Dataset, `team-a` and `team-b` want it.
    static func cluster(seed: UInt64 = 1, automatic: Bool = false) throws -> APIServer {
        let server = APIServer(seed: seed, automatic: automatic)
        server.create(definitions, try JSON(yaml: text(of: "charts/millrace/files/datasets.yaml")))
        for (name, team) in [("courses", "owner"), ("team-a", "a"), ("team-b", "b")] {
            server.add(namespace: name, labels: ["team": .string(team)])
        }
        server.add(class: "millrace", ["datasetAnnotation": "true", "subPathAnnotation": "true"])
        server.add(class: "course", ["dataset": "courses/iris"])
        return server
    }

    func add(namespace: String, labels: JSON = [:]) {
        create(Namespace.resource, ["metadata": ["name": .string(namespace), "labels": labels]])
    }

    func add(class name: String, _ parameters: JSON, binding: String = "Immediate") {
        create(
            StorageClass.resource,
            [
                "metadata": ["name": .string(name)], "provisioner": .string(Names.defaultDriver),
                "parameters": parameters, "volumeBindingMode": .string(binding),
            ])
    }

    func add(dataset name: String, in namespace: String = "courses", _ extra: JSON = [:]) {
        let spec: JSON = [
            "source": ["s3": ["bucket": "bkt", "prefix": "p", "endpoint": "http://127.0.0.1:9"]],
            "secretRef": ["name": "keys"],
        ]
        create(
            Dataset.resource, ["metadata": ["name": .string(name)], "spec": spec.merged(with: extra)],
            namespace: namespace)
    }

    func add(claim name: String, in namespace: String, class storageClass: String, _ extra: JSON = [:]) {
        let claim: JSON = [
            "metadata": ["name": .string(name)],
            "spec": [
                "storageClassName": .string(storageClass), "accessModes": ["ReadOnlyMany"],
                "resources": ["requests": ["storage": "1Gi"]],
            ],
        ]
        create(PersistentVolumeClaim.resource, claim.merged(with: extra), namespace: namespace)
    }

    func add(pod name: String, in namespace: String, claim: String) {
        create(
            Pod.resource,
            [
                "metadata": ["name": .string(name)],
                "spec": ["volumes": [["name": "v", "persistentVolumeClaim": ["claimName": .string(claim)]]]],
                "status": ["phase": "Running"],
            ], namespace: namespace)
    }

    func claim(_ name: String, _ namespace: String) -> JSON? {
        object(PersistentVolumeClaim.resource, name, namespace: namespace)
    }
    func phase(_ name: String, _ namespace: String) -> String? { claim(name, namespace)?.at("status", "phase")?.string }

    /// The volume that a claim is bound to.
    func volume(of name: String, _ namespace: String) -> JSON? {
        claim(name, namespace)?.at("spec", "volumeName")?.string.flatMap { object(PersistentVolume.resource, $0) }
    }

    /// The Events about an object, as "reason: message".
    func events(about name: String) -> [String] {
        objects(Event.resource).filter { $0.at("involvedObject", "name")?.string == name }
            .map { "\($0["reason"]?.string ?? ""): \($0["message"]?.string ?? "")" }
    }
}

func annotated(_ dataset: String, _ more: JSON = [:]) -> JSON {
    ["metadata": ["annotations": (["millrace.dev/dataset": .string(dataset)] as JSON).merged(with: more)]]
}
