import Controller
import FoundationEssentials
import Kubernetes

/// Finds the keys that a Dataset's revisions are made with.
struct RevisionJobs: Sendable {
    let client: Client
    let policy: AddressPolicy?

    func job(for dataset: Dataset) async throws(RevisionFailure) -> RevisionJob {
        guard let source = dataset.spec.source.kind?.asS3, let owner = dataset.metadata.uid else {
            throw RevisionFailure("the source speaks no S3")
        }
        let spec = dataset.spec
        let store = spec.revision?.store ?? Dataset.Store(bucket: source.bucket)
        if let endpoint = store.endpoint, let policy {
            do throws(Refusal) { try await policy.check(url: endpoint, field: "spec.revision.store.endpoint") } catch {
                throw RevisionFailure(error.message)
            }
        }
        let namespace = dataset.key.namespace
        var reading: SourceCredentials?
        if let reference = spec.secretRef {
            reading = try await credentials(reference.name, namespace, "spec.secretRef")
        }
        var writing = reading
        if let reference = store.secretRef {
            writing = try await credentials(reference.name, namespace, "spec.revision.store.secretRef")
        }
        guard let writing else { throw RevisionFailure("spec.revision.store has no secretRef: nothing can be kept") }
        // A pod's own role is nobody's but the pod's; the store's keys may read the source too.
        if reading == nil, source.anonymous != true { reading = writing }
        return RevisionJob(
            owner: owner, source: source, store: store, sourceCredentials: reading, storeCredentials: writing)
    }

    private func credentials(
        _ name: String, _ namespace: String, _ field: String
    ) async throws(RevisionFailure) -> SourceCredentials {
        let secret: Kubernetes.Secret
        do throws(APIError) { secret = try await client.get(Kubernetes.Secret.self, name, namespace: namespace) } catch
        {
            throw RevisionFailure(
                error.isNotFound
                    ? "Secret \(namespace)/\(name) of \(field) isn't there; create it"
                    : "Secret \(namespace)/\(name) of \(field) can't be read: \(error.message)")
        }
        var data: [String: String] = [:]
        for (key, value) in secret.data ?? [:] {
            if let bytes = Data(base64Encoded: value) { data[key] = String(decoding: bytes, as: UTF8.self) }
        }
        do throws(Refusal) {
            return try SourceCredentials(secret: data, named: "\(namespace)/\(name)")
        } catch {
            throw RevisionFailure(error.message)
        }
    }
}
