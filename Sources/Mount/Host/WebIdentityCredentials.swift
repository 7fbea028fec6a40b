import Curl
import NodeProtocol
import S3
import Threads

/// Keys that a service account's token is exchanged for, again before they expire. The kubelet renews the token, so it
/// is replaced while keys that the old one brought are still good.
final class WebIdentityCredentials: CredentialsSource {
    let roleARN: String
    private let token: Locked<S3.Secret>
    private let keys: RefreshingCredentials
    var origin: String { keys.origin }

    init(
        roleARN: String, token: NodeProtocol.Secret, stsEndpoint: String?, region: String,
        connection: ConnectionOptions, engine: TransferEngine
    ) {
        self.roleARN = roleARN
        let current = Locked(S3.Secret(token.exposed))
        self.token = current
        let sts = STSClient(endpointURL: stsEndpoint, region: region, connection: connection, thread: engine.threads[0])
        keys = RefreshingCredentials(origin: "the pod's service account") { completion in
            sts.assumeRole(
                CredentialsPlan.WebIdentity(roleARN: roleARN, tokenFile: ""), token: current.withLock { $0 }, completion
            )
        }
    }

    func renew(from other: WebIdentityCredentials) {
        let next = other.token.withLock { $0 }
        token.withLock { $0 = next }
    }

    func credentials(_ completion: @escaping @Sendable (Result<Credentials?, S3Error>) -> Void) {
        keys.credentials(completion)
    }

    func refused(_ credentials: Credentials) -> Bool { keys.refused(credentials) }
}
