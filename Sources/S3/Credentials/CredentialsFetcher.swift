import Curl
import SystemPackage
import Threads

/// Carries out a plan: asks the program, STS, the container's endpoint or the instance's metadata.
public final class CredentialsFetcher: Sendable {
    public struct Options: Sendable {
        public var region = "us-east-1"
        public var stsEndpointURL: String?
        /// For STS; endpoints of this machine are reached without a proxy.
        public var connection = ConnectionOptions()
        public init() {}
    }

    private let thread: TransferThread
    private let options: Options

    public init(_ engine: TransferEngine, options: Options = Options()) {
        thread = engine.threads[0]
        self.options = options
    }

    /// A source for a client. `plan` is asked again for each fetch, so that edited files and rotated tokens count.
    public static func source(
        _ engine: TransferEngine, options: Options = Options(),
        plan: @escaping @Sendable () throws(ConfigurationError) -> CredentialsPlan
    ) throws(ConfigurationError) -> any CredentialsSource {
        let first = try plan()
        if first == .anonymous { return StaticCredentials.anonymous }
        let fetcher = CredentialsFetcher(engine, options: options)
        return RefreshingCredentials(origin: first.origin) { completion in
            // Files and programs block, so they have a thread of their own for the moment.
            _ = Thread("credentials") {
                do throws(ConfigurationError) {
                    fetcher.fetch(try plan(), completion)
                } catch { completion(.failure(.credentials(error.description))) }
            }
        }
    }

    /// As AWS' tools: environment, web identity, profile, container, instance; or the profile of that name.
    public static func standard(
        _ engine: TransferEngine, environment: Environment = .process, profile: String? = nil,
        options: Options = Options()
    ) throws(ConfigurationError) -> any CredentialsSource {
        try source(engine, options: options) { () throws(ConfigurationError) in
            try CredentialsPlan.resolve(environment, profile: profile)
        }
    }

    /// May block, for files and programs; calls back once, on this thread or the transfer thread.
    public func fetch(_ plan: CredentialsPlan, _ completion: @escaping @Sendable (Result<Credentials, S3Error>) -> Void)
    {
        switch plan {
        case .anonymous: completion(.failure(.credentials("anonymous access has none")))
        case .fixed(let credentials, _): completion(.success(credentials))
        case .process(let command, let profile):
            completion(CredentialsProcess(command: command, profile: profile).run())
        case .webIdentity(let identity):
            token(identity.tokenFile, "the web identity token", completion) { [self] token in
                sts.assumeRole(identity, token: token, completion)
            }
        case .assumeRole(let role, let source):
            fetch(source) { [self] result in
                switch result {
                case .failure: completion(result)
                case .success(let credentials): sts.assumeRole(role, with: credentials, completion)
                }
            }
        case .container(let url, let fixed, let file):
            if let file {
                token(file, "the container's authorization token", completion) { [self] token in
                    askContainer(url, token, completion)
                }
            } else {
                askContainer(url, fixed, completion)
            }
        case .instanceMetadata(let endpoint):
            InstanceMetadata(endpoint: endpoint, http: PatientHTTP(thread, attempts: 2)).fetch(completion)
        }
    }

    private var sts: STSClient {
        STSClient(
            endpointURL: options.stsEndpointURL, region: options.region, connection: options.connection, thread: thread)
    }

    /// Reads a token's file anew, as tokens are rotated in place.
    private func token(
        _ path: String, _ what: String, _ completion: @Sendable (Result<Credentials, S3Error>) -> Void,
        _ use: (Secret) -> Void
    ) {
        do throws(Errno) {
            guard let text = try SmallFile.readToken(path) else {
                return completion(.failure(.credentials("\(what) in \(path) is empty or no token")))
            }
            use(Secret(text))
        } catch { completion(.failure(.credentials("\(what) in \(path) can't be read: \(error)"))) }
    }

    private func askContainer(
        _ url: String, _ token: Secret?, _ completion: @escaping @Sendable (Result<Credentials, S3Error>) -> Void
    ) {
        var request = HTTPRequest("GET", url, timeoutMs: 5_000)
        request.connection.proxy = .none
        request.maxBodyBytes = 64 << 10
        if let token { request.headers.append(("Authorization", token.reveal())) }
        let origin = "the container's credentials endpoint"
        PatientHTTP(thread).send(
            { [request] in request },
            { result in
                switch result {
                case .failure(let error): completion(.failure(.credentials("\(origin): \(error)")))
                case .success(let response) where response.status != 200:
                    completion(.failure(.credentials("\(origin) answered status \(response.status)")))
                case .success(let response): completion(CredentialsJSON.parse(response.body, origin: origin))
                }
            })
    }
}

extension CredentialsPlan {
    /// For people.
    public var origin: String {
        switch self {
        case .fixed(_, let origin): origin
        case .process(_, let profile): "the credential_process of profile \"\(profile)\""
        case .webIdentity(let identity): "a web identity for \(identity.roleARN)"
        case .assumeRole(let role, let source): "the role \(role.roleARN), assumed with \(source.origin)"
        case .container: "the container's credentials endpoint"
        case .instanceMetadata: "the instance's metadata"
        case .anonymous: "anonymous access"
        }
    }
}
