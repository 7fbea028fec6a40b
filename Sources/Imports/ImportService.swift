import Kubernetes

/// Imports as the HTTP API asks for them. Whether the caller may is the API's to find out first.
public struct ImportService: Sendable {
    private let client: Client

    public init(client: Client) { self.client = client }

    /// Asks for the Job and its pods to go; the status stays. An import that isn't over ends as failed. Doing it twice, or
    /// for an import that isn't there, is all right.
    public func cleanup(name: String, namespace: String) async throws(APIError) {
        do throws(APIError) {
            try await client.patch(
                DatasetImport.self, name, namespace: namespace,
                merge: ["metadata": ["annotations": [ImportNames.cleanup: "true"]]])
        } catch {
            guard error.isNotFound else { throw error }
        }
    }
}
