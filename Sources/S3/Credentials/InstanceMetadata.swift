import Curl

/// The role of an EC2 instance, by version 2 of its metadata service (a token first).
/// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
struct InstanceMetadata {
    let endpoint: String
    let http: PatientHTTP

    /// Off EC2 nothing answers there, so nobody waits long.
    private static let timeoutMs = 1_000
    private static let path = "/latest/meta-data/iam/security-credentials/"

    func fetch(_ completion: @escaping @Sendable (Result<Credentials, S3Error>) -> Void) {
        send("PUT", "/latest/api/token", [("X-aws-ec2-metadata-token-ttl-seconds", "300")], completion) {
            [self] token in
            let headers = [(name: "X-aws-ec2-metadata-token", value: String(decoding: token, as: UTF8.self))]
            send("GET", Self.path, headers, completion) { body in
                let role = body.prefix { $0 != 0x0A }
                guard !role.isEmpty, role.count <= 256 else {
                    return completion(.failure(.credentials("the instance has no role")))
                }
                let escaped = PercentEncoding.encode(role, keepsSlash: false)
                send("GET", Self.path + escaped, headers, completion) { json in
                    completion(CredentialsJSON.parse(json, origin: "the instance's metadata"))
                }
            }
        }
    }

    private func send(
        _ method: String, _ path: String, _ headers: [(name: String, value: String)],
        _ completion: @escaping @Sendable (Result<Credentials, S3Error>) -> Void,
        _ next: @escaping @Sendable ([UInt8]) -> Void
    ) {
        var request = HTTPRequest(method, endpoint + path, headers: headers, timeoutMs: Self.timeoutMs)
        request.connection.proxy = .none
        request.connection.connectTimeoutMs = Self.timeoutMs
        request.maxBodyBytes = 64 << 10
        let what = "no credentials in the environment or a profile, and the instance's metadata at \(endpoint)"
        http.send(
            { [request] in request },
            { result in
                switch result {
                case .failure(let error): completion(.failure(.credentials("\(what) can't be had: \(error)")))
                case .success(let response) where response.status == 200: next(response.body)
                case .success(let response) where response.status == 404 && path == Self.path:
                    completion(.failure(.credentials("\(what) knows no role of this instance")))
                case .success(let response):
                    completion(.failure(.credentials("\(what) answered status \(response.status)")))
                }
            })
    }
}
