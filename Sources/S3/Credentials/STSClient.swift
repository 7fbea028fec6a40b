import Curl

/// AWS' Security Token Service, or another's that speaks its protocol: trades an identity for credentials.
public final class STSClient: Sendable {
    private let api: QueryAPI

    /// `endpointURL` nil: AWS' own in the region.
    public init(
        endpointURL: String? = nil, region: String, connection: ConnectionOptions = ConnectionOptions(),
        thread: TransferThread
    ) {
        let url = endpointURL ?? "https://sts.\(region).\(Endpoint.awsDomain(region: region))"
        api = QueryAPI(service: "sts", url: url, region: region, connection: connection, thread: thread)
    }

    /// `token`: an OpenID Connect token, such as a pod's service account's. Calls back on the transfer thread.
    public func assumeRole(
        _ identity: CredentialsPlan.WebIdentity, token: Secret,
        _ completion: @escaping @Sendable (Result<Credentials, S3Error>) -> Void
    ) {
        let parameters = [
            ("Action", "AssumeRoleWithWebIdentity"), ("RoleArn", identity.roleARN),
            ("RoleSessionName", identity.sessionName), ("Version", "2011-06-15"), ("WebIdentityToken", token.reveal()),
        ]
        send(parameters, signedWith: nil, completion)
    }

    /// `policy`: a session policy in JSON, which narrows what the role may do. Calls back on the transfer thread.
    public func assumeRole(
        _ role: CredentialsPlan.AssumedRole, policy: String? = nil, with credentials: Credentials,
        _ completion: @escaping @Sendable (Result<Credentials, S3Error>) -> Void
    ) {
        var parameters = [("Action", "AssumeRole")]
        if let seconds = role.durationSeconds { parameters.append(("DurationSeconds", String(seconds))) }
        if let externalID = role.externalID { parameters.append(("ExternalId", externalID)) }
        if let policy { parameters.append(("Policy", policy)) }
        // MinIO knows no roles: there the keys' own rights are narrowed.
        if !role.roleARN.isEmpty { parameters.append(("RoleArn", role.roleARN)) }
        parameters += [("RoleSessionName", role.sessionName), ("Version", "2011-06-15")]
        send(parameters, signedWith: credentials, completion)
    }

    private func send(
        _ parameters: [(String, String)], signedWith credentials: Credentials?,
        _ completion: @escaping @Sendable (Result<Credentials, S3Error>) -> Void
    ) {
        let origin = api.origin
        api.send(parameters, signedWith: credentials) { result in
            switch result {
            case .failure(let failure):
                let verb = failure.status == nil ? ":" : ""
                completion(.failure(.credentials("\(origin)\(verb) \(failure.description)")))
            case .success(let document): completion(Self.credentials(document.fields, origin))
            }
        }
    }

    static func credentials(_ fields: [String: String], _ origin: String) -> Result<Credentials, S3Error> {
        guard let key = fields["AccessKeyId"], let secret = fields["SecretAccessKey"],
            let token = fields["SessionToken"], let expires = fields["Expiration"].flatMap({ Dates.parseISO8601($0) })
        else { return .failure(.credentials("\(origin) gave an answer without credentials")) }
        let credentials = Credentials(
            accessKeyID: key, secretAccessKey: Secret(secret), sessionToken: Secret(token), expires: expires)
        do throws(ConfigurationError) {
            return .success(try CredentialsPlan.checked(credentials, from: origin))
        } catch { return .failure(.credentials("\(error)")) }
    }
}
