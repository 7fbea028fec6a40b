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
        let environment = Environment.process
        let settings: AWSSettings
        let credentials: any CredentialsSource
        do {
            settings = try AWSSettings(environment, profile: profile)
            credentials = anonymous
                ? StaticCredentials.anonymous
                : try CredentialsChain(environment: environment, profile: profile, settings: settings, logger: logger)
        } catch {
            throw Failure(
                "cannot read the AWS configuration", because: "\(error)",
                fix: "correct the file or the profile's name, or use --anonymous for a public bucket")
        }
        var configuration = S3Configuration(
            bucket: bucket, endpoint: try endpoint(settings), credentials: credentials)
        configuration.requesterPays = requesterPays
        if let file = caBundle ?? settings.caFile {
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

    private func endpoint(_ settings: AWSSettings) throws -> Endpoint {
        let region = region ?? settings.region ?? "us-east-1"
        let addressing = pathStyle ? .path : virtualHostStyle ? .virtualHost : settings.addressing
        guard let url = endpoint ?? settings.endpointURL else {
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
}
