import Controller
import FoundationEssentials
import Kubernetes
import KubernetesTestSupport
import Logging
import Testing
import Threads

let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

private let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

extension APIServer {
    /// With the chart's CRD, a namespace, and a Secret `keys` in it.
    static func cluster(seed: UInt64 = 1) throws -> APIServer {
        let server = APIServer(seed: seed)
        let text = try String(contentsOf: root.appending(path: "charts/millrace/files/datasets.yaml"), encoding: .utf8)
        let definitions = Resource(
            group: "apiextensions.k8s.io", version: "v1", plural: "customresourcedefinitions",
            kind: "CustomResourceDefinition", isNamespaced: false)
        server.create(definitions, try JSON(yaml: text))
        server.create(Namespace.resource, ["metadata": ["name": "courses"]])
        server.add(secret: "keys", ["accessKeyID": "id", "secretAccessKey": "secret"])
        return server
    }

    func add(secret name: String, _ data: [String: String]) {
        let encoded = data.mapValues { JSON.string(Data($0.utf8).base64EncodedString()) }
        create(
            Kubernetes.Secret.resource, ["metadata": ["name": .string(name)], "data": .object(encoded)],
            namespace: "courses")
    }

    func add(dataset name: String, endpoint: String, _ revision: JSON, _ extra: JSON = [:]) {
        let spec: JSON = [
            "source": ["s3": ["bucket": "bkt", "prefix": "data", "endpoint": .string(endpoint)]],
            "secretRef": ["name": "keys"], "revision": revision,
        ]
        create(
            Dataset.resource, (["metadata": ["name": .string(name)], "spec": spec] as JSON).merged(with: extra),
            namespace: "courses")
    }

    func dataset(_ name: String) -> JSON? { object(Dataset.resource, name, namespace: "courses") }
    func revisions(_ name: String) -> [String] {
        dataset(name)?.at("status", "revisions")?.array?.compactMap { $0["id"]?.string } ?? []
    }
    func phase(_ name: String) -> String? { dataset(name)?.at("status", "revision", "phase")?.string }
    func message(_ name: String) -> String { dataset(name)?.at("status", "revision", "message")?.string ?? "" }

    /// A volume that shows a revision.
    func add(volume name: String, showing id: String, of dataset: String, claim: String? = nil) {
        let reference: JSON = [
            "namespace": "courses", "name": .string(claim ?? "none"), "kind": "PersistentVolumeClaim",
            "apiVersion": "v1",
        ]
        create(
            PersistentVolume.resource,
            [
                "metadata": ["name": .string(name)],
                "spec": [
                    "claimRef": reference,
                    "accessModes": ["ReadOnlyMany"], "capacity": ["storage": "1Gi"],
                    "csi": [
                        "driver": .string(Names.defaultDriver), "volumeHandle": .string(name),
                        "volumeAttributes": [
                            "manifest": .string("s3://bkt/\(id)"), "millrace.dev/revision": .string(id),
                            "millrace.dev/dataset": .string("courses/\(dataset)"),
                        ],
                    ],
                ],
            ])
    }
}

func eventually(_ what: String, _ condition: () -> Bool) async {
    for _ in 0..<4000 {
        if condition() { return }
        try? await Task.sleep(for: .milliseconds(5))
    }
    Issue.record("never: \(what)")
}
