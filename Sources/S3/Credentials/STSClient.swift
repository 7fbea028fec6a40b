import Curl

/// AWS' Security Token Service, or another's that speaks its protocol: trades an identity for credentials.
public final class STSClient: Sendable {
    private let url: String
    private let region: String
    private let connection: ConnectionOptions
    private let http: PatientHTTP
    private let signer = Signer(service: "sts")

    /// `endpointURL` nil: AWS' own in the region.
    public init(
        endpointURL: String? = nil, region: String, connection: ConnectionOptions = ConnectionOptions(),
        thread: TransferThread
    ) {
        url = endpointURL ?? "https://sts.\(region).\(Endpoint.awsDomain(region: region))"
        self.region = region
        self.connection = connection
        http = PatientHTTP(thread)
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

    /// Calls back on the transfer thread.
    public func assumeRole(
        _ role: CredentialsPlan.AssumedRole, with credentials: Credentials,
        _ completion: @escaping @Sendable (Result<Credentials, S3Error>) -> Void
    ) {
        var parameters = [("Action", "AssumeRole")]
        if let seconds = role.durationSeconds { parameters.append(("DurationSeconds", String(seconds))) }
        if let externalID = role.externalID { parameters.append(("ExternalId", externalID)) }
        parameters += [("RoleArn", role.roleARN), ("RoleSessionName", role.sessionName), ("Version", "2011-06-15")]
        send(parameters, signedWith: credentials, completion)
    }

    private func send(
        _ parameters: [(String, String)], signedWith credentials: Credentials?,
        _ completion: @escaping @Sendable (Result<Credentials, S3Error>) -> Void
    ) {
        let form = parameters.map { "\($0)=\(PercentEncoding.encode($1.utf8, keepsSlash: false))" }.joined(
            separator: "&")
        let parts: URLParts
        do throws(EndpointError) {
            parts = try URLParts(url)
        } catch { return completion(.failure(.credentials("the STS endpoint: \(error)"))) }
        let body = Array(form.utf8)
        let origin = "STS at \(parts.host)"
        http.send(
            { [self] in request(parts, body, credentials) },
            { result in
                switch result {
                case .failure(let error): completion(.failure(.credentials("\(origin): \(error)")))
                case .success(let response): completion(Self.parse(response, origin))
                }
            })
    }

    private func request(_ parts: URLParts, _ body: [UInt8], _ credentials: Credentials?) -> HTTPRequest {
        let path = parts.path.isEmpty ? "/" : parts.path
        var host = parts.host
        if let port = parts.port, port != (parts.isSecure ? 443 : 80) { host += ":\(port)" }
        var headers = [(name: "Content-Type", value: "application/x-www-form-urlencoded; charset=utf-8")]
        if let credentials {
            let time = WallClock.now
            var signed = [
                (name: "content-type", value: headers[0].value), (name: "host", value: host),
                (name: "x-amz-date", value: AmzDate(time).text),
            ]
            if let token = credentials.sessionToken { signed.append(("x-amz-security-token", token.reveal())) }
            let authorization = signer.authorization(
                Signer.Request(
                    method: "POST", path: path, query: "", headers: signed,
                    payloadHash: Digest.hex(Digest.sha256(body))), credentials, region: region, time: time)
            headers += signed.filter { $0.name.hasPrefix("x-amz-") } + [("Authorization", authorization)]
        }
        var request = HTTPRequest(
            "POST", "\(parts.isSecure ? "https" : "http")://\(host)\(path)", headers: headers, body: body,
            timeoutMs: 10_000)
        request.connection = connection
        request.maxBodyBytes = 256 << 10
        return request
    }

    static func parse(_ response: HTTPResponse, _ origin: String) -> Result<Credentials, S3Error> {
        let fields = XMLFields.parse(response.body)
        guard response.status == 200 else {
            let code = fields?["Code"] ?? "status \(response.status)"
            let message = fields?["Message"].map { ": \($0)" } ?? ""
            return .failure(.credentials("\(origin) answered \(code)\(message)"))
        }
        guard let fields, let key = fields["AccessKeyId"], let secret = fields["SecretAccessKey"],
            let token = fields["SessionToken"], let expires = fields["Expiration"].flatMap({ Dates.parseISO8601($0) })
        else { return .failure(.credentials("\(origin) gave an answer without credentials")) }
        let credentials = Credentials(
            accessKeyID: key, secretAccessKey: Secret(secret), sessionToken: Secret(token), expires: expires)
        do throws(ConfigurationError) {
            return .success(try CredentialsPlan.checked(credentials, from: origin))
        } catch { return .failure(.credentials("\(error)")) }
    }
}
