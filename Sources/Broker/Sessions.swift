import Controller
import Curl
import Kubernetes
import S3

/// Why no keys were minted, for people.
public struct MintFailure: Error, Sendable, Equatable {
    public var message: String
    public init(_ message: String) { self.message = message }
}

/// What became of a session that shall not work any more.
public enum Denial: Sendable, Equatable {
    case denied
    /// This store can't, or these keys may not: the session ends when its keys expire. Says why.
    case impossible(String)
    /// Another time perhaps. Says why.
    case failed(String)
}

/// Makes and ends sessions at a store. Every call ends within its own time limit.
public protocol SessionService: Sendable {
    func mint(
        _ scope: GrantScope, session: String, with keys: SourceCredentials
    ) async -> Result<Credentials, MintFailure>
    /// `until`: when the last keys of the session expire, in seconds since 1970.
    func deny(
        _ session: String, at store: BrokeredStore, until: Int64, with keys: SourceCredentials
    ) async -> Denial
}

/// By STS AssumeRole with a session policy; denied by an inline policy of the role.
public struct STSSessions: SessionService {
    static let denialPrefix = "millrace-revoked-"
    private let thread: TransferThread
    private let addresses: AddressPolicy?
    private let now: @Sendable () -> Int64

    /// `addresses`: where endpoints that owners of Datasets wrote may be; nil: anywhere.
    public init(
        thread: TransferThread, addresses: AddressPolicy? = nil, now: @escaping @Sendable () -> Int64 = WallClock.system
    ) {
        self.thread = thread
        self.addresses = addresses
        self.now = now
    }

    public func mint(
        _ scope: GrantScope, session: String, with keys: SourceCredentials
    ) async -> Result<Credentials, MintFailure> {
        let sts = STSClient(
            endpointURL: scope.store.stsEndpoint, region: scope.store.region, connection: connection(scope.store),
            thread: thread)
        var role = CredentialsPlan.AssumedRole(roleARN: scope.store.roleARN ?? "")
        role.sessionName = session
        role.durationSeconds = scope.ttlSeconds
        let policy = SessionPolicy.allowing(scope).description
        let result = await withCheckedContinuation { continuation in
            sts.assumeRole(role, policy: policy, with: keys.credentials) { continuation.resume(returning: $0) }
        }
        return result.mapError { MintFailure("Dataset \(scope.store.dataset): \($0)") }
    }

    public func deny(
        _ session: String, at store: BrokeredStore, until: Int64, with keys: SourceCredentials
    ) async -> Denial {
        guard let arn = store.roleARN, let role = Self.roleName(arn) else {
            return .impossible("without a role there is nothing to deny it by")
        }
        let iam = IAMClient(
            endpointURL: store.iamEndpoint, region: store.region, connection: connection(store), thread: thread)
        let credentials = keys.credentials
        await sweep(iam, role, credentials)
        let policy = SessionPolicy.denying(session: session).description
        let name = "\(Self.denialPrefix)\(session.suffix(40))-\(until)"
        let result = await withCheckedContinuation { continuation in
            iam.putRolePolicy(role: role, name: name, policy: policy, with: credentials) {
                continuation.resume(returning: $0)
            }
        }
        switch result {
        case .success: return .denied
        case .failure(.refused(let text)): return .impossible(text)
        case .failure(.passing(let text)): return .failed(text)
        }
    }

    /// Policies that deny sessions whose keys have expired anyway go, as a role has room for so many. What fails here
    /// is done next time.
    private func sweep(_ iam: IAMClient, _ role: String, _ credentials: Credentials) async {
        let names = await withCheckedContinuation { continuation in
            iam.rolePolicies(role: role, with: credentials) { continuation.resume(returning: try? $0.get()) }
        }
        for name in names ?? [] {
            guard name.hasPrefix(Self.denialPrefix), let until = name.split(separator: "-").last.flatMap({ Int64($0) }),
                until < now()
            else { continue }
            await withCheckedContinuation { continuation in
                iam.deleteRolePolicy(role: role, name: name, with: credentials) { _ in continuation.resume() }
            }
        }
    }

    private func connection(_ store: BrokeredStore) -> ConnectionOptions {
        var connection = ConnectionOptions()
        connection.addresses = addresses
        connection.caPEM = store.source.caBundle.map { Array($0.utf8) }
        return connection
    }

    /// `x` of `arn:aws:iam::1:role/path/x`.
    static func roleName(_ arn: String) -> String? {
        guard let range = arn.firstRange(of: ":role/") else { return nil }
        return arn[range.upperBound...].split(separator: "/").last.map(String.init)
    }
}

extension SourceCredentials {
    var credentials: Credentials {
        Credentials(
            accessKeyID: accessKeyID, secretAccessKey: S3.Secret(secretAccessKey),
            sessionToken: sessionToken.map { S3.Secret($0) })
    }
}
