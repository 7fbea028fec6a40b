import Broker
import Controller
import Imports
import Kubernetes
import Logging

/// What an uninstall does first: nothing may wait for a controller that won't come back. What finalizers hold back stays
/// as it is: manifests of revisions in their store, copies where they are, and keys until they expire.
struct LettingGo {
    /// Until then the controller is gone. If the uninstall fails, it leads again after that.
    private static let leaderlessSeconds = 300
    private static let prefix = "millrace.dev/"

    let client: Client
    let election: LeaderElection
    let logger: Logger

    func run() async throws(APIError) {
        // Who leads would put them on again.
        try await election.depose(forSeconds: Self.leaderlessSeconds)
        try await free(Dataset.self)
        try await free(DatasetImport.self)
        try await free(CredentialGrant.self)
    }

    private func free<T: KubernetesObject>(_ type: T.Type) async throws(APIError) {
        let count = try await client.removeFinalizers(beginningWith: Self.prefix, from: T.self)
        logger.info("let go", metadata: ["kind": "\(T.resource.plural)", "count": "\(count)"])
    }
}
