import Controller
import Imports
import Kubernetes

/// Real copies, which `Imports` makes: what the API asks of them, and only of those that it asked for itself.
struct Copies: Sendable {
    private let client: Client
    private let imports: ImportService

    init(client: Client) {
        self.client = client
        imports = ImportService(client: client)
    }

    func authorize(
        _ caller: Caller, _ verb: String, in namespace: String, _ authorizer: Authorizer
    ) async throws(Problem) {
        try await authorizer.require(caller, verb, DatasetImport.self, in: namespace)
    }

    func make(
        _ plan: ClaimPlan, _ claim: PersistentVolumeClaim, _ secretName: String?, _ settings: APISettings
    ) -> DatasetImport {
        var metadata = plan.meta(of: claim, settings)
        metadata.name = plan.order.key.name
        var spec = DatasetImport.Spec(source: DatasetImport.Source(s3: plan.order.place.map { .init($0.source) }))
        spec.claimName = plan.order.key.name
        spec.secretRef = secretName.map { Dataset.LocalReference(name: $0) }
        return DatasetImport(metadata: metadata, spec: spec)
    }

    /// How a copy is going, or how it ended; also when its Job is gone. Nil: there is no copy of that name that the API
    /// made.
    func status(of key: ObjectKey) async throws(Problem) -> DatasetImport.Status? {
        guard let item = try await find(key) else { return nil }
        return item.status ?? DatasetImport.Status()
    }

    /// Lets the Job and its pods go; how it ended stays known.
    func cleanUp(_ key: ObjectKey) async throws(Problem) {
        guard try await find(key) != nil else { return }
        try await asking { () async throws(APIError) in
            try await imports.cleanup(name: key.name, namespace: key.namespace)
        }
    }

    private func find(_ key: ObjectKey) async throws(Problem) -> DatasetImport? {
        let found = try await finding { () async throws(APIError) in
            try await client.get(DatasetImport.self, key.name, namespace: key.namespace)
        }
        return found?.metadata.labels?[Labels.service] == Labels.serviceValue ? found : nil
    }
}

extension DatasetImport.S3Source {
    fileprivate init(_ source: Dataset.S3Source) {
        self.init(bucket: source.bucket)
        prefix = source.prefix
        endpoint = source.endpoint
        region = source.region
        pathStyle = source.pathStyle
        anonymous = source.anonymous
        requesterPays = source.requesterPays
    }
}
