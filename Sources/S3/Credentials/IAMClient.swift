import Curl

/// The part of AWS' Identity and Access Management that denies sessions what their role may: a role's inline policies.
/// Ceph's gateway serves it at its S3 endpoint.
public final class IAMClient: Sendable {
    public enum Failure: Error, Sendable, Equatable, CustomStringConvertible {
        /// The server said no, and will say so again: it doesn't know the call, or these keys may not make it.
        case refused(String)
        /// No answer, or one that may be another next time.
        case passing(String)

        public var description: String {
            switch self {
            case .refused(let text), .passing(let text): text
            }
        }
    }

    private let api: QueryAPI

    /// `endpointURL` nil: AWS' own, which has one region.
    public init(
        endpointURL: String? = nil, region: String, connection: ConnectionOptions = ConnectionOptions(),
        thread: TransferThread
    ) {
        let isAWS = endpointURL == nil
        api = QueryAPI(
            service: "iam", url: endpointURL ?? "https://iam.amazonaws.com", region: isAWS ? "us-east-1" : region,
            connection: connection, thread: thread)
    }

    /// Puts or replaces one inline policy, JSON. Calls back on the transfer thread.
    public func putRolePolicy(
        role: String, name: String, policy: String, with credentials: Credentials,
        _ completion: @escaping @Sendable (Result<Void, Failure>) -> Void
    ) {
        send(
            [("Action", "PutRolePolicy"), ("PolicyDocument", policy), ("PolicyName", name), ("RoleName", role)],
            credentials, completion)
    }

    /// A policy that isn't there is no failure. Calls back on the transfer thread.
    public func deleteRolePolicy(
        role: String, name: String, with credentials: Credentials,
        _ completion: @escaping @Sendable (Result<Void, Failure>) -> Void
    ) {
        send([("Action", "DeleteRolePolicy"), ("PolicyName", name), ("RoleName", role)], credentials, completion)
    }

    /// The names of the role's inline policies. Calls back on the transfer thread.
    public func rolePolicies(
        role: String, with credentials: Credentials,
        _ completion: @escaping @Sendable (Result<[String], Failure>) -> Void
    ) {
        ask([("Action", "ListRolePolicies"), ("RoleName", role)], credentials) { completion($0.map(\.members)) }
    }

    private func send(
        _ parameters: [(String, String)], _ credentials: Credentials,
        _ completion: @escaping @Sendable (Result<Void, Failure>) -> Void
    ) {
        ask(parameters, credentials) { completion($0.map { _ in }) }
    }

    private func ask(
        _ parameters: [(String, String)], _ credentials: Credentials,
        _ completion: @escaping @Sendable (Result<XMLFields.Document, Failure>) -> Void
    ) {
        let origin = api.origin
        api.send(parameters + [("Version", "2010-05-08")], signedWith: credentials) { result in
            switch result {
            case .success(let document): completion(.success(document))
            case .failure(let failure) where failure.status == 404 && parameters[0].1.hasPrefix("Delete"):
                completion(.success(XMLFields.Document()))
            case .failure(let failure):
                let text = "\(origin) \(failure.description)"
                guard let status = failure.status, status < 500, status != 429, failure.code != "Throttling" else {
                    return completion(.failure(.passing(text)))
                }
                completion(.failure(.refused(text)))
            }
        }
    }
}
