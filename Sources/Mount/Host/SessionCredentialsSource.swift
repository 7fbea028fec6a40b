import NodeProtocol
import S3
import Threads

/// The credentials of one session, which a republish may replace while requests are under way.
final class SessionCredentialsSource: CredentialsSource {
    private struct State {
        var current: any CredentialsSource
        var generation = 0
        /// The keys that were given out last, and of which generation they were.
        var lastAccessKeyID: String?
        var lastGeneration = 0
    }
    private let state: Locked<State>
    let origin = "the volume"

    init(_ first: any CredentialsSource) { state = Locked(State(current: first)) }

    func replace(_ next: any CredentialsSource) {
        state.withLock {
            if let current = $0.current as? WebIdentityCredentials, let next = next as? WebIdentityCredentials,
                current.roleARN == next.roleARN
            {
                current.renew(from: next)
            } else {
                $0.current = next
                $0.generation += 1
            }
        }
    }

    func credentials(_ completion: @escaping @Sendable (Result<Credentials?, S3Error>) -> Void) {
        let (current, generation) = state.withLock { ($0.current, $0.generation) }
        current.credentials { [self] result in
            if case .success(let credentials?) = result {
                state.withLock {
                    $0.lastAccessKeyID = credentials.accessKeyID
                    $0.lastGeneration = generation
                }
            }
            completion(result)
        }
    }

    func refused(_ credentials: Credentials) -> Bool {
        let (current, isReplaced) = state.withLock {
            ($0.current, $0.generation != $0.lastGeneration || $0.lastAccessKeyID != credentials.accessKeyID)
        }
        return isReplaced || current.refused(credentials)
    }
}
