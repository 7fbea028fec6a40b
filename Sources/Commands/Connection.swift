import Curl
import Glibc
import Logging
import Metrics
import S3

extension ConnectionArguments {
    /// The bucket as these options, the environment and the profile say it is reached. No request is made.
    func open(
        bucket: String, registry: Registry = Registry(), logger: Logger = Logger(label: "millrace")
    ) throws -> any ObjectStore {
        try client(bucket: bucket, registry: registry, logger: logger)
    }

    func client(
        bucket: String, registry: Registry = Registry(), logger: Logger = Logger(label: "millrace")
    ) throws -> S3Client {
        let environment = environmentVariables()
        var configuration = S3Configuration(
            bucket: bucket, endpoint: try endpoint(environment), credentials: credentials(environment))
        configuration.requesterPays = requesterPays
        if let file = caBundle ?? environment["AWS_CA_BUNDLE"] {
            guard access(file, R_OK) == 0 else {
                throw Failure(
                    "cannot read the CA bundle \(file)", because: String(cString: strerror(errno)),
                    fix: "give --ca-bundle (or AWS_CA_BUNDLE) a PEM file that can be read")
            }
            configuration.connection.caFile = file
        }
        if let proxy { configuration.connection.proxy = .url(proxy) }
        return S3Client(configuration, engine: TransferEngine(), metrics: registry, logger: logger)
    }

    private func endpoint(_ environment: [String: String]) throws -> Endpoint {
        let region = region ?? environment["AWS_REGION"] ?? "us-east-1"
        let addressing = pathStyle ? Endpoint.Addressing.path : virtualHostStyle ? .virtualHost : nil
        guard let url = endpoint ?? environment["AWS_ENDPOINT_URL"] else {
            return Endpoint.aws(region: region, addressing: addressing)
        }
        do {
            return try Endpoint(url: url, region: region, addressing: addressing)
        } catch {
            throw Failure(
                "cannot use the endpoint \(url)", because: "\(error)",
                fix: "give --endpoint a URL such as https://s3.example.org or http://127.0.0.1:9000")
        }
    }

    private func credentials(_ environment: [String: String]) -> any CredentialsSource {
        guard !anonymous, let id = environment["AWS_ACCESS_KEY_ID"], let secret = environment["AWS_SECRET_ACCESS_KEY"]
        else { return StaticCredentials.anonymous }
        return StaticCredentials(
            Credentials(
                accessKeyID: id, secretAccessKey: Secret(secret),
                sessionToken: environment["AWS_SESSION_TOKEN"].map { Secret($0) }),
            origin: "the environment")
    }
}
