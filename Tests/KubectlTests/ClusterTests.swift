import Controller
import FoundationEssentials
import Kubernetes
import KubernetesTestSupport
import Testing

@testable import Kubectl

private let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()
private let definitions = Resource(
    group: "apiextensions.k8s.io", version: "v1", plural: "customresourcedefinitions",
    kind: "CustomResourceDefinition", isNamespaced: false)

/// A stand-in with Dataset `courses/iris`, granted to `team-a`, whose claim `data` shows it.
struct SmallCluster {
    let server = APIServer()
    let client: Client

    init() throws {
        let file = root.appending(path: "charts/millrace/files/datasets.yaml")
        server.create(definitions, try JSON(yaml: String(contentsOf: file, encoding: .utf8)))
        for name in ["courses", "team-a", "team-b"] {
            server.create(Namespace.resource, ["metadata": ["name": .string(name), "labels": ["team": .string(name)]]])
        }
        server.create(
            Dataset.resource,
            [
                "metadata": ["name": "iris"],
                "spec": [
                    "source": ["s3": ["bucket": "bkt", "prefix": "iris", "endpoint": "http://127.0.0.1:9"]],
                    "secretRef": ["name": "keys"],
                    "allowedNamespaces": ["from": "Selector", "selector": ["matchLabels": ["team": "team-a"]]],
                ],
            ], namespace: "courses")
        server.create(Kubernetes.Secret.resource, ["metadata": ["name": "keys"]], namespace: "courses")
        server.create(
            StorageClass.resource,
            [
                "metadata": ["name": "millrace"], "provisioner": .string(Names.defaultDriver),
                "parameters": ["datasetAnnotation": "true"],
            ])
        server.create(CSIDriverView.resource, ["metadata": ["name": .string(Names.defaultDriver)]])
        client = Client(transport: DirectTransport(server), fieldManager: "test")
        setReady("True", "Ready", "Pods can mount it.")
    }

    func setReady(_ status: String, _ reason: String, _ message: String) {
        let condition: JSON = [
            "type": "Ready", "status": .string(status), "reason": .string(reason), "message": .string(message),
        ]
        let patch: JSON = [
            "status": [
                "objects": 150, "bytes": 1_572_864, "consumers": ["volumes": 1, "namespaces": 1],
                "conditions": [condition],
            ]
        ]
        var request = APIRequest(
            method: "PATCH", target: Dataset.resource.path(namespace: "courses", name: "iris", subresource: "status"),
            body: patch.bytes)
        request.headers = [("content-type", "application/merge-patch+json")]
        precondition(server.perform(request).status == 200)
    }

    func add(
        claim name: String, in namespace: String, dataset: String? = "courses/iris",
        class storageClass: String = "millrace"
    ) {
        var claim: JSON = [
            "metadata": ["name": .string(name)],
            "spec": [
                "storageClassName": .string(storageClass), "accessModes": ["ReadOnlyMany"],
                "resources": ["requests": ["storage": "1Gi"]],
            ],
        ]
        claim.set("metadata", "annotations", Names.dataset, to: dataset.map { .string($0) })
        server.create(PersistentVolumeClaim.resource, claim, namespace: namespace)
    }

    /// As the controller does it.
    func add(volumeFor claim: String, in namespace: String) throws {
        let object = try #require(server.object(PersistentVolumeClaim.resource, claim, namespace: namespace))
        let reference: JSON = [
            "kind": "PersistentVolumeClaim", "namespace": .string(namespace), "name": .string(claim),
            "uid": object.at("metadata", "uid")!,
        ]
        server.create(
            PersistentVolume.resource,
            [
                "metadata": ["name": .string("pvc-\(claim)"), "annotations": [Names.dataset: "courses/iris"]],
                "spec": [
                    "accessModes": ["ReadOnlyMany"], "capacity": ["storage": "1Gi"], "storageClassName": "millrace",
                    "claimRef": reference,
                    "csi": ["driver": .string(Names.defaultDriver), "volumeHandle": .string(claim)],
                ],
            ])
    }

    func add(pod name: String, in namespace: String, claim: String, node: String) {
        let volume: JSON = ["name": "v", "persistentVolumeClaim": ["claimName": .string(claim)]]
        server.create(
            PodView.resource,
            [
                "metadata": ["name": .string(name)],
                "spec": ["nodeName": .string(node), "volumes": [volume]],
                "status": ["phase": "Running", "conditions": [["type": "Ready", "status": "True"]]],
            ], namespace: namespace)
    }

    func explain(_ claim: String, in namespace: String = "team-a") async throws -> [Finding] {
        var explanation = Explanation(client: client, claim: ObjectKey(namespace: namespace, name: claim))
        try await explanation.run()
        return explanation.findings
    }
}

@Suite struct KubectlClusterTests {
    let cluster: SmallCluster
    let iris = ObjectKey(namespace: "courses", name: "iris")

    init() throws { cluster = try SmallCluster() }

    @Test func lsShowsWhatThereIs() async throws {
        defer { cluster.server.stop() }
        let rows = try await cluster.client.datasets(in: nil)
        #expect(rows.count == 1 && rows[0].ready == "True" && rows[0].bytes == 1_572_864)
        #expect(try await cluster.client.datasets(in: "team-a").isEmpty)
        let lines = rendered(rows, as: .wide, none: "").split(separator: "\n")
        #expect(lines[0].hasPrefix("NAMESPACE   NAME   READY   OBJECTS   BYTES"))
        #expect(lines[1].contains("1.5Mi") && lines[1].contains("s3://bkt/iris"))
        let json = try JSON(parsing: rendered(rows, as: .json, none: ""))
        #expect(json.array?[0]["objects"] == 150)
    }

    @Test func whoTellsClaimsPodsAndNodes() async throws {
        defer { cluster.server.stop() }
        cluster.add(claim: "data", in: "team-a")
        try cluster.add(volumeFor: "data", in: "team-a")
        cluster.add(pod: "train-1", in: "team-a", claim: "data", node: "n1")
        cluster.add(pod: "train-0", in: "team-a", claim: "data", node: "n2")
        let rows = try await cluster.client.consumers(of: iris)
        #expect(rows.count == 1 && rows[0].phase == "Bound")
        #expect(rows[0].pods == ["train-0", "train-1"] && rows[0].nodes == ["n1", "n2"])
        let text = try await cluster.client.describe(iris).text
        for part in ["s3://bkt/iris", "team=team-a; now: team-a", "Ready=True", "train-0,train-1"] {
            #expect(text.contains(part), "\(part) in \(text)")
        }
    }

    @Test func grantsChangeTheDataset() async throws {
        defer { cluster.server.stop() }
        let set = try await cluster.client.grant(.select(LabelSelector(matchLabels: ["team": "team-b"])), iris)
        #expect(set.spec.allowedNamespaces?.selector?.matchLabels == ["team": "team-b"])
        _ = try await cluster.client.grant(.none, iris)
        let added = try await cluster.client.grant(.add(namespace: "team-b"), iris)
        #expect(added.spec.allowedNamespaces?.selector?.matchExpressions?.first?.values == ["courses", "team-b"])
        #expect(added.spec.allowedNamespaces?.selector?.matchLabels == nil)
    }

    @Test func warmKeepsAndEnds() async throws {
        defer { cluster.server.stop() }
        func replicas() -> JSON? {
            cluster.server.object(Dataset.resource, "iris", namespace: "courses")?.at("spec", "warm", "replicas")
        }
        try await Warm.keep(cluster.client, iris, replicas: 2)
        #expect(replicas() == 2)
        try await Warm.keep(cluster.client, iris, replicas: 0)
        #expect(replicas() == nil)
    }

    @Test func explainFindsAMissingGrant() async throws {
        defer { cluster.server.stop() }
        cluster.add(claim: "data", in: "team-b")
        let problems = try await cluster.explain("data", in: "team-b").filter { $0.verdict == .problem }
        #expect(problems.contains { $0.about == "grant" && $0.message.contains("grant add courses/iris team-b") })
    }

    @Test(
        arguments: [
            ("gone", "courses/iris", "other", "StorageClass other isn't there"),
            ("plain", nil, "millrace", "needs the annotation millrace.dev/dataset"),
            ("odd", "a/b/c", "millrace", "it must be namespace/name"),
            ("lost", "courses/nothing", "millrace", "Dataset courses/nothing isn't there"),
        ] as [(String, String?, String, String)])
    func explainFindsWhatAClaimLacks(
        _ name: String, _ dataset: String?, _ storageClass: String, _ text: String
    ) async throws {
        defer { cluster.server.stop() }
        cluster.add(claim: name, in: "team-a", dataset: dataset, class: storageClass)
        let findings = try await cluster.explain(name)
        #expect(findings.contains { $0.verdict == .problem && $0.message.contains(text) }, "\(findings)")
    }

    @Test func explainTellsOfTheSourceTheSecretAndEvents() async throws {
        defer { cluster.server.stop() }
        cluster.add(claim: "data", in: "team-a")
        cluster.setReady("False", "Denied", "AWS S3 refuses the credentials.")
        cluster.server.delete(Kubernetes.Secret.resource, "keys", namespace: "courses")
        let about: JSON = ["kind": "PersistentVolumeClaim", "name": "data", "namespace": "team-a"]
        cluster.server.create(
            Event.resource,
            [
                "metadata": ["name": "e"], "type": "Warning", "reason": "NotAllowed", "message": "because",
                "involvedObject": about,
            ], namespace: "team-a")
        let findings = try await cluster.explain("data")
        for text in [
            "refuses the credentials", "Secret courses/keys of the Dataset isn't there", "NotAllowed: because",
        ] {
            #expect(findings.contains { $0.verdict == .problem && $0.message.contains(text) }, "\(text)")
        }
    }

    @Test func explainFindsNothingWrongWithWhatWorks() async throws {
        defer { cluster.server.stop() }
        cluster.add(claim: "data", in: "team-a")
        try cluster.add(volumeFor: "data", in: "team-a")
        let driver: JSON = ["name": .string(Names.defaultDriver), "nodeID": "n1"]
        cluster.server.create(CSINodeView.resource, ["metadata": ["name": "n1"], "spec": ["drivers": [driver]]])
        cluster.server.create(CSINodeView.resource, ["metadata": ["name": "n2"], "spec": ["drivers": []]])
        cluster.add(pod: "p", in: "team-a", claim: "data", node: "n1")
        // Said before it was Bound.
        let about: JSON = ["kind": "PersistentVolumeClaim", "name": "data", "namespace": "team-a"]
        cluster.server.create(
            Event.resource,
            ["metadata": ["name": "e"], "type": "Warning", "reason": "NotAllowed", "involvedObject": about],
            namespace: "team-a")
        let fine = try await cluster.explain("data")
        #expect(fine.allSatisfy { $0.verdict == .fine }, "\(fine)")
        cluster.add(pod: "q", in: "team-a", claim: "data", node: "n2")
        let problems = try await cluster.explain("data").filter { $0.verdict == .problem }
        #expect(problems.count == 1 && problems[0].message.contains("plugin isn't registered"), "\(problems)")
    }

    @Test func explainOfNothingSaysSo() async throws {
        defer { cluster.server.stop() }
        #expect(try await cluster.explain("nothing") == [.problem("claim", "there is no claim team-a/nothing")])
    }

    @Test func topReadsNodesThroughTheAPIServer() async throws {
        defer { cluster.server.stop() }
        cluster.server.create(Namespace.resource, ["metadata": ["name": "millrace"]])
        for node in ["n1", "n2"] {
            cluster.server.create(
                PodView.resource,
                [
                    "metadata": [
                        "name": .string("plugin-\(node)"),
                        "labels": [
                            "app.kubernetes.io/name": "millrace", "app.kubernetes.io/component": "node",
                        ],
                    ], "spec": ["nodeName": .string(node)], "status": ["phase": "Running"],
                ], namespace: "millrace")
        }
        let client = Client(
            transport: PodProxy(
                base: DirectTransport(cluster.server),
                pages: ["/api/v1/namespaces/millrace/pods/plugin-n1%3A9809/proxy/metrics": KubectlPureTests.metrics]),
            fieldManager: "test")
        // The other node doesn't answer, which hides nothing of this one.
        let rows = try await NodeMetrics.read(client).flatMap(TopRow.rows)
        #expect(rows.map(\.node) == ["n1", "n1", "n1"] && rows[0].hitBytes == 750)
        #expect(try await NodeMetrics.read(client, on: "n2").isEmpty)
    }

    @Test func completionsComeFromTheCluster() async throws {
        defer { cluster.server.stop() }
        func candidates(_ words: String...) async -> [String] {
            let (wanted, namespace) = CompleteCommand.wanted(words)
            return await CompleteCommand.candidates(wanted, cluster.client, namespace: namespace ?? "team-a")
        }
        #expect(await candidates("wh") == ["who\tShows the claims and pods that use a Dataset, in all namespaces."])
        #expect(await candidates("describe", "-n", "courses", "") == ["iris"])
        #expect(await candidates("describe", "") == [])
        #expect(await candidates("grant", "re") == ["remove"])
        #expect(await candidates("grant", "add", "-n", "courses", "i") == ["iris"])
        #expect(await candidates("grant", "add", "iris", "team") == ["team-a", "team-b"])
        #expect(await candidates("ls", "-n", "cour") == ["courses"])
        #expect(await candidates("ls", "-o", "") == ["table", "wide", "json"])
        #expect(!(await candidates("").contains { $0.hasPrefix("__") }))
    }
}

/// An API server that forwards to pods.
private struct PodProxy: Transport {
    let base: DirectTransport
    let pages: [String: String]

    func send(_ request: APIRequest) async throws(APIError) -> APIResponse {
        guard request.target.contains("/proxy/") else { return try await base.send(request) }
        guard let page = pages[request.target] else { return APIResponse(status: 503) }
        return APIResponse(status: 200, body: Array(page.utf8))
    }

    func stream(_ request: APIRequest) async throws(APIError) -> APIStream { try await base.stream(request) }
}
