import Controller
import Curl
import FoundationEssentials
import Imports
import Kubernetes
import KubernetesTestSupport
import Logging
import PrometheusMetrics
import S3
import TestSupport
import Testing
import Threads

@testable import API

let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

func text(of path: String) throws -> String { try String(contentsOf: root.appending(path: path), encoding: .utf8) }

/// The API over real sockets, against the stand-ins of Kubernetes and S3. Namespace `team` belongs to `team-user`; class
/// `millrace` is ours, `block` somebody else's.
final class Fixture: Sendable {
    struct Reply: Sendable {
        var status: Int
        var headers: [String: String]
        var body: JSON
        var text: String
    }

    let kube: KubernetesTestSupport.APIServer
    let s3: S3Server
    let registry = Registry()
    let client: Client
    let service: APIService
    private let engine = TransferEngine(threads: 1)
    private let thread = TransferThread("client")

    static let keys = ServerCredentials(accessKey: "AKIAEXAMPLE", secretKey: "hunter2+/secret")
    static let bearer = "user:team-user"

    init(_ change: (inout APISettings) -> Void = { _ in }) throws {
        kube = KubernetesTestSupport.APIServer()
        for file in try FileManager.default.contentsOfDirectory(
            atPath: root.appending(path: "charts/millrace/files").path)
        where file.hasSuffix(".yaml") {
            kube.create(Self.definitions, try JSON(yaml: text(of: "charts/millrace/files/\(file)")))
        }
        for name in ["team", "other"] { kube.create(Namespace.resource, ["metadata": ["name": .string(name)]]) }
        let classes: [(String, String, JSON)] = [
            ("millrace", Names.defaultDriver, ["datasetAnnotation": "true", "subPathAnnotation": "true"]),
            ("fixed", Names.defaultDriver, ["dataset": "team/iris"]), ("block", "block.example.org", [:]),
        ]
        for (name, provisioner, parameters) in classes {
            kube.create(
                StorageClass.resource,
                [
                    "metadata": ["name": .string(name)], "provisioner": .string(provisioner), "parameters": parameters,
                ])
        }
        var options = S3Server.Options()
        options.credentials = [Self.keys]
        s3 = try S3Server(options)
        s3.createBucket("datasets")
        for (key, size) in [("testset/a", 1000), ("testset/deep/b", 2000), ("testset2/c", 4000), ("else/d", 8000)] {
            _ = s3.put("datasets", key, .generated(size: UInt64(size), seed: 1))
        }
        client = Client(transport: DirectTransport(kube), fieldManager: Names.controller)
        var settings = APISettings()
        settings.listener = .init(address: "127.0.0.1", port: 0)
        settings.compat = .init(address: "127.0.0.1", port: 0)
        settings.addresses = AddressPolicy(allowing: [AddressRange("127.0.0.0/8")!])
        settings.requestsPerSecond = 10_000
        settings.burst = 10_000
        change(&settings)
        let probe = S3Probe(engine: engine, metrics: registry, logger: quiet, addresses: settings.addresses)
        service = try APIService(client: client, probe: probe, settings: settings, metrics: registry, logger: quiet)
    }

    static let definitions = Resource(
        group: "apiextensions.k8s.io", version: "v1", plural: "customresourcedefinitions",
        kind: "CustomResourceDefinition", isNamespaced: false)

    /// Serves while the body runs.
    func serving(_ body: () async throws -> Void) async throws {
        let service = service
        let task = Task { try await service.run() }
        for _ in 0..<2000 where service.port == nil || service.compatPort == nil {
            try await Task.sleep(for: .milliseconds(5))
        }
        try #require(service.port != nil && service.compatPort != nil, "it doesn't listen")
        do { try await body() } catch {
            task.cancel()
            _ = await task.result
            stop()
            throw error
        }
        task.cancel()
        _ = await task.result
        stop()
    }

    private func stop() {
        s3.stop()
        engine.stop()
        thread.stop()
        kube.stop()
    }

    func send(
        _ method: String, _ path: String, _ body: JSON? = nil, raw: [UInt8]? = nil, token: String? = bearer,
        port: Int? = nil, headers: [(String, String)] = []
    ) async throws -> Reply {
        var request = HTTPRequest(
            method, "http://127.0.0.1:\(port ?? service.port!)\(path)", body: raw ?? body?.bytes, timeoutMs: 60_000)
        if let token { request.headers.append(("Authorization", "Bearer \(token)")) }
        if request.body != nil, !headers.contains(where: { $0.0 == "Content-Type" }) {
            request.headers.append(("Content-Type", "application/json"))
        }
        request.headers += headers.map { (name: $0.0, value: $0.1) }
        let response = try await withCheckedContinuation { continuation in
            HTTPClient(thread: thread).send(request) { continuation.resume(returning: $0) }
        }.get()
        let text = String(decoding: response.body, as: UTF8.self)
        return Reply(
            status: response.status, headers: Dictionary(response.headers.map { ($0.name, $0.value) }) { $1 },
            body: (try? JSON(parsing: response.body)) ?? .null, text: text)
    }

    func post(_ path: String, _ body: JSON, token: String? = Fixture.bearer) async throws -> Reply {
        try await send("POST", path, body, token: token)
    }

    /// PVCi's fields for the S3 stand-in.
    func place(_ prefix: String = "testset", bucket: String = "datasets") -> JSON {
        [
            "s3_ssl": false, "s3_endpoint": .string("127.0.0.1:\(s3.port)"), "s3_bucket": .string(bucket),
            "s3_prefix": .string(prefix), "s3_key": .string(Self.keys.accessKey),
            "s3_secret": .string(Self.keys.secretKey),
        ]
    }

    func order(_ name: String, class storageClass: String, prefix: String = "testset") -> JSON {
        place(prefix).merged(with: [
            "namespace": "team", "name": .string(name), "storage_class": .string(storageClass),
        ])
    }

    static func name(_ name: String, in namespace: String = "team") -> JSON {
        ["namespace": .string(namespace), "name": .string(name)]
    }

    func claim(_ name: String) -> JSON? { kube.object(PersistentVolumeClaim.resource, name, namespace: "team") }

    /// Everything that could be left behind in the namespaces.
    var leftovers: [String] {
        [PersistentVolumeClaim.resource, Kubernetes.Secret.resource, Dataset.resource, DatasetImport.resource].flatMap {
            resource in
            kube.objects(resource).map { "\(resource.kind) \($0.at("metadata", "name")?.string ?? "")" }
        }
    }

    /// Binds a claim as its provisioner would.
    func bind(_ name: String, driver: String = "block.example.org") {
        let claim = claim(name)!
        kube.create(
            PersistentVolume.resource,
            [
                "metadata": ["name": .string("pv-\(name)")],
                "spec": [
                    "capacity": ["storage": "1Gi"], "accessModes": ["ReadWriteOnce", "ReadOnlyMany"],
                    "storageClassName": claim.at("spec", "storageClassName")!,
                    "csi": ["driver": .string(driver), "volumeHandle": .string(name)],
                    "claimRef": [
                        "namespace": "team", "name": .string(name), "uid": claim.at("metadata", "uid")!,
                        "kind": "PersistentVolumeClaim", "apiVersion": "v1",
                    ],
                ],
            ])
    }
}

/// Waits until something holds; fails the test after ten seconds.
func eventually(
    _ what: String, sourceLocation: SourceLocation = #_sourceLocation, _ condition: () async throws -> Bool
) async throws {
    for _ in 0..<2000 {
        if try await condition() { return }
        try await Task.sleep(for: .milliseconds(5))
    }
    Issue.record("never: \(what)", sourceLocation: sourceLocation)
}
