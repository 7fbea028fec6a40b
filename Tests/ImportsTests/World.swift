import FoundationEssentials
import Kubernetes
import KubernetesTestSupport
import Logging
import PrometheusMetrics
import Synchronization
import Testing
import Threads

@testable import Controller
@testable import Imports

let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

private let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

/// A cluster in memory with the chart's CRD, a provisioner, a Job controller and a kubelet that do one thing when asked,
/// and a controller that can be killed at any API call.
final class World {
    /// Copies that say where they are.
    final class Reports: ProgressSource {
        let byAddress = Mutex<[String: String]>([:])
        func progress(of address: String, port: Int) async -> JSON? {
            byAddress.withLock { $0[address] }.flatMap { try? JSON(parsing: $0) }
        }
    }

    let server = APIServer()
    let reports = Reports()
    /// Five minutes past an hour, about the time of the objects' creationTimestamps, which are this machine's.
    let now = Locked(Timestamp.secondsNow / 3600 * 3600 + 330)
    private(set) var life = Life()
    private(set) var reconciler: ImportReconciler!
    private var pods = 0

    init() throws {
        let definitions = Resource(
            group: "apiextensions.k8s.io", version: "v1", plural: "customresourcedefinitions",
            kind: "CustomResourceDefinition", isNamespaced: false)
        server.create(
            definitions,
            try JSON(
                yaml: String(
                    contentsOf: root.appending(path: "charts/millrace/files/datasetimports.yaml"), encoding: .utf8)))
        server.create(Namespace.resource, ["metadata": ["name": "team"]])
        for (name, mode) in [("disk", "Immediate"), ("late", "WaitForFirstConsumer")] {
            server.create(
                StorageClass.resource,
                [
                    "metadata": ["name": .string(name)], "provisioner": "disk.example",
                    "volumeBindingMode": .string(mode),
                ])
        }
        restart()
    }

    deinit { server.stop() }

    /// A fresh process.
    func restart(dyingAt call: Int = .max, after: Bool = false) {
        life = Life()
        life.dieAt(call: call, after: after)
        var transport = DirectTransport(server)
        transport.hook = { [life] _, isDone throws(APIError) in try life.check(isDone: isDone) }
        reconciler = ImportReconciler(
            tables: ImportTables(), client: Client(transport: transport, fieldManager: "test"),
            template: JobTemplate(JobTemplate.Settings(image: "millrace:test")), progress: reports,
            policy: AddressPolicy(allowing: [AddressRange("127.0.0.0/8")!]), metrics: Registry(), logger: quiet,
            clock: { [now] in now.withLock { $0 } })
    }

    // MARK: What people do

    func add(import name: String, _ spec: JSON) {
        let source: JSON = ["source": ["s3": ["bucket": "bkt", "prefix": "p/", "endpoint": "http://127.0.0.1:9"]]]
        server.create(
            DatasetImport.resource, ["metadata": ["name": .string(name)], "spec": source.merging(spec)],
            namespace: "team")
    }

    func add(claim name: String, class storageClass: String = "disk", _ spec: JSON = [:]) {
        let own: JSON = [
            "storageClassName": .string(storageClass), "accessModes": ["ReadWriteOnce"],
            "resources": ["requests": ["storage": "1Gi"]],
        ]
        server.create(
            PersistentVolumeClaim.resource, ["metadata": ["name": .string(name)], "spec": own.merging(spec)],
            namespace: "team")
    }

    func annotate(import name: String, _ annotations: JSON) {
        server.patch(DatasetImport.resource, name, namespace: "team", ["metadata": ["annotations": annotations]])
    }

    // MARK: What is there

    func status(_ name: String) -> DatasetImport.Status? { item(name)?.status }
    func item(_ name: String) -> DatasetImport? { all(DatasetImport.self).first { $0.metadata.name == name } }
    func claim(_ name: String) -> PersistentVolumeClaim? {
        all(PersistentVolumeClaim.self).first { $0.metadata.name == name }
    }
    var jobs: [Job] { all(Job.self) }
    func all<T: KubernetesObject>(_: T.Type) -> [T] {
        server.objects(T.resource).map { try! JSONDecoder().decode(T.self, from: Data($0.bytes)) }
    }
    func condition(_ name: String, _ type: String) -> Kubernetes.Condition? {
        status(name)?.conditions?.first { $0.type == type }
    }
    func events(about name: String) -> [String] {
        server.objects(Event.resource).filter { $0.at("involvedObject", "name")?.string == name }
            .map { $0["reason"]?.string ?? "" }
    }

    // MARK: One turn of everything

    /// The controller looks at everything, with tables as fresh as can be.
    func look() async {
        func fill<T: KubernetesObject>(_ table: ObjectTable<T>) {
            let objects = all(T.self)
            for object in table.all where !objects.contains(where: { $0.key == object.key }) {
                table.remove(object.key)
            }
            for object in objects { table.set(object) }
        }
        let tables = reconciler.tables
        fill(tables.imports)
        fill(tables.claims)
        fill(tables.volumes)
        fill(tables.classes)
        fill(tables.jobs)
        let keys =
            tables.imports.all.flatMap(ImportTables.concerns) + tables.claims.all.flatMap(ImportTables.concerns)
            + tables.jobs.all.flatMap(ImportTables.concerns)
        for key in Set(keys).sorted() { _ = await reconciler.reconcile(key) }
    }

    /// Makes volumes for claims that may have one.
    func provision() {
        for claim in all(PersistentVolumeClaim.self)
        where claim.spec.volumeName == nil && claim.spec.dataSourceRef == nil {
            let node = claim.metadata.annotations?[ImportNames.selectedNode]
            if claim.spec.storageClassName == "late", node == nil { continue }
            let name = "pv-\(claim.metadata.uid!)"
            guard server.object(PersistentVolume.resource, name) == nil else { continue }
            server.create(
                PersistentVolume.resource,
                [
                    "metadata": ["name": .string(name)],
                    "spec": [
                        "capacity": JSON(claim.spec.resources?.requests ?? [:]), "accessModes": ["ReadWriteOnce"],
                        "persistentVolumeReclaimPolicy": "Delete", "hostPath": ["path": "/tmp/nowhere"],
                        "storageClassName": .string(claim.spec.storageClassName ?? ""),
                        "claimRef": [
                            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "team",
                            "name": .string(claim.metadata.name!), "uid": .string(claim.metadata.uid!),
                        ],
                    ],
                ])
        }
    }

    /// Starts a pod for each Job that has none that runs; answers their addresses.
    @discardableResult
    func startPods() -> [String] {
        var addresses: [String] = []
        for job in jobs where !job.isOver && !job.metadata.isBeingDeleted {
            let running = podsOf(job).filter { $0.status?.phase == "Running" }
            guard running.isEmpty else { continue }
            pods += 1
            let address = "127.9.0.\(pods)"
            let owner: JSON = [
                "apiVersion": "batch/v1", "kind": "Job", "name": .string(job.metadata.name!),
                "uid": .string(job.metadata.uid!), "controller": true,
            ]
            let template = job.spec?.at("template") ?? [:]
            server.create(
                Pod.resource,
                [
                    "metadata": [
                        "name": .string("\(job.metadata.name!)-\(pods)"), "ownerReferences": [owner],
                        "labels": template.at("metadata", "labels") ?? [:],
                    ], "spec": template["spec"] ?? [:],
                    "status": ["phase": "Running", "podIP": .string(address)],
                ], namespace: "team")
            addresses.append(address)
        }
        return addresses
    }

    func podsOf(_ job: Job) -> [Pod] {
        all(Pod.self).filter { $0.metadata.ownerReferences?.first?.uid == job.metadata.uid }
    }

    /// Ends a Job's running pod with these last words, and the Job with it unless it may try again.
    func end(_ job: Job, succeeded: Bool, _ report: String, isLast: Bool = true) {
        for pod in podsOf(job) where pod.status?.phase == "Running" {
            let ended: JSON = ["terminated": ["exitCode": succeeded ? 0 : 1, "message": .string(report)]]
            setStatus(
                Pod.resource, pod.metadata.name!,
                ["phase": succeeded ? "Succeeded" : "Failed", "containerStatuses": [["name": "copy", "state": ended]]])
        }
        let failed = podsOf(job).filter { $0.status?.phase == "Failed" }.count
        var status: JSON = ["failed": .integer(failed)]
        if succeeded || isLast {
            status["conditions"] = [
                [
                    "type": succeeded ? "Complete" : "Failed", "status": "True",
                    "reason": succeeded ? "CompletionsReached" : "BackoffLimitExceeded",
                ]
            ]
        }
        setStatus(Job.resource, job.metadata.name!, status)
    }

    private func setStatus(_ resource: Resource, _ name: String, _ status: JSON) {
        let patch: JSON = ["status": status]
        var request = APIRequest(
            method: "PATCH", target: resource.path(namespace: "team", name: name, subresource: "status"),
            body: patch.bytes)
        request.headers = [("content-type", "application/merge-patch+json")]
        let response = server.perform(request)
        precondition(response.status == 200, String(decoding: response.body, as: UTF8.self))
    }

    /// The scheduler has chosen a node for a claim.
    func select(node: String, for claim: String) {
        server.patch(
            PersistentVolumeClaim.resource, claim, namespace: "team",
            ["metadata": ["annotations": [ImportNames.selectedNode: .string(node)]]])
    }

    static let done =
        #"{"phase":"Succeeded","objects":3,"objectsTotal":3,"bytes":99,"bytesTotal":99,"final":false,"message":""}"#

    /// Everything has so many turns; all Jobs succeed.
    func settle(turns: Int = 8) async {
        for _ in 0..<turns {
            await look()
            provision()
            startPods()
            for job in jobs where !job.isOver && !podsOf(job).isEmpty { end(job, succeeded: true, Self.done) }
        }
    }
}
