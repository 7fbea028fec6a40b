import Controller
import Kubernetes

/// Real copies, which `Imports` makes: what the API asks of them.
struct Copies: Sendable {
    let client: Client

    /// How a copy is going, or how it ended; also when its Job is gone.
    struct State: Sendable, Equatable {
        var phase: String
        var message: String
        var objects: Int?
        var bytes: Int?
        var bytesTotal: Int?
        var percent: Int?
        var startTime: String?
        var completionTime: String?

        var hasFailed: Bool { phase == "Failed" }
        var isDone: Bool { phase == "Succeeded" }
    }

    func authorize(
        _ caller: Caller, _ verb: String, in namespace: String, _ authorizer: Authorizer
    ) async throws(Problem) {
        try await authorizer.require(caller, verb, ImportRecord.self, in: namespace)
    }

    func make(
        _ plan: ClaimPlan, _ claim: PersistentVolumeClaim, _ secretName: String?, _ settings: APISettings
    ) -> ImportRecord {
        var metadata = plan.meta(of: claim, settings)
        metadata.name = plan.order.key.name
        let source = ImportRecord.Source(s3: plan.order.place?.source)
        var spec = ImportRecord.Spec(source: source, claimName: plan.order.key.name)
        spec.secretRef = secretName.map { Dataset.LocalReference(name: $0) }
        return ImportRecord(metadata: metadata, spec: spec)
    }

    /// Nil: there is no copy of that name that the API made.
    func state(of key: ObjectKey) async throws(Problem) -> State? {
        guard let record = try await find(key) else { return nil }
        let status = record.status
        let progress = status?.progress
        var state = State(phase: status?.phase ?? "Pending", message: status?.message ?? "")
        state.objects = progress?.objects
        state.bytes = progress?.bytes
        state.bytesTotal = progress?.bytesTotal
        state.percent = progress?.percent
        state.startTime = status?.startTime
        state.completionTime = status?.completionTime
        return state
    }

    /// Lets the Job and its pods go; how it ended stays known.
    func cleanUp(_ key: ObjectKey) async throws(Problem) {
        guard try await find(key) != nil else { return }
        let patch: JSON = ["metadata": ["annotations": ["millrace.dev/cleanup": "true"]]]
        _ = try await finding { () async throws(APIError) in
            try await client.patch(ImportRecord.self, key.name, namespace: key.namespace, merge: patch)
        }
    }

    private func find(_ key: ObjectKey) async throws(Problem) -> ImportRecord? {
        let found = try await finding { () async throws(APIError) in
            try await client.get(ImportRecord.self, key.name, namespace: key.namespace)
        }
        return found?.metadata.labels?[Labels.service] == Labels.serviceValue ? found : nil
    }
}

struct ImportRecord: KubernetesObject {
    static let resource = Resource(
        group: Names.group, version: "v1alpha1", plural: "datasetimports", kind: "DatasetImport", isNamespaced: true)

    struct Spec: Codable, Sendable {
        var source: Source
        var secretRef: Dataset.LocalReference?
        var claimName: String?
        init(source: Source, claimName: String?) {
            self.source = source
            self.claimName = claimName
        }
    }
    struct Source: Codable, Sendable { var s3: Dataset.S3Source? }
    struct Status: Codable, Sendable {
        var phase: String?
        var message: String?
        var progress: Progress?
        var startTime: String?
        var completionTime: String?
    }
    struct Progress: Codable, Sendable {
        var objects: Int?
        var bytes: Int?
        var bytesTotal: Int?
        var percent: Int?
    }

    var metadata: ObjectMeta
    var spec: Spec
    var status: Status?
}
