import Curl
import Glibc
import Logging
import PrometheusMetrics
import S3

/// A bucket as the options, the environment and the profile say it is reached.
struct Connection {
    /// What a person waits for ends within ten seconds, its retries included, and then says why.
    static let impatientMs = 8000

    var configuration: S3Configuration
    var engine = TransferEngine()

    /// - Parameter timeoutMs: the longest a request may take with its retries; nil: the client's own, patient one.
    func client(
        timeoutMs: Int? = nil, registry: Registry = Registry(), logger: Logger = Logger(label: "millrace")
    ) -> S3Client {
        var configuration = configuration
        if let timeoutMs { configuration.requestTimeoutMs = timeoutMs }
        return S3Client(configuration, engine: engine, metrics: registry, logger: logger)
    }
}

extension ConnectionArguments {
    /// No request is made. What is given here stands behind the options and before the environment and AWS' files.
    func open(
        bucket: String, endpoint given: String? = nil, region givenRegion: String? = nil,
        credentials givenCredentials: (any CredentialsSource)? = nil
    ) throws -> Connection {
        let environment = Environment.process
        let engine = TransferEngine()
        let settings: AWSSettings
        let credentials: any CredentialsSource
        do {
            settings = try AWSSettings(environment, profile: profile)
            try checkCABundle(settings)
            var options = CredentialsFetcher.Options()
            options.region = region ?? givenRegion ?? settings.region ?? "us-east-1"
            options.stsEndpointURL = settings.stsEndpointURL
            apply(settings, to: &options.connection)
            credentials =
                anonymous
                ? StaticCredentials.anonymous
                : try givenCredentials ?? CredentialsFetcher.standard(engine, profile: profile, options: options)
        } catch let failure as Failure {
            throw failure
        } catch {
            throw Failure(
                "cannot read the AWS configuration", because: "\(error)",
                fix: "correct the file or the profile's name, or use --anonymous for a public bucket")
        }
        var configuration = S3Configuration(
            bucket: bucket, endpoint: try endpoint(settings, given, givenRegion), credentials: credentials)
        configuration.requesterPays = requesterPays
        apply(settings, to: &configuration.connection)
        return Connection(configuration: configuration, engine: engine)
    }

    /// Certificates and proxy.
    func apply(_ settings: AWSSettings, to options: inout ConnectionOptions) {
        let file = caBundle ?? settings.caFile
        if let file, Destination.isDirectory(file) {
            // A ConfigMap or Secret, mounted.
            let texts = (try? TextFiles.read(file)) ?? []
            options.caPEM = Array(texts.map { $0.text + "\n" }.joined().utf8)
        } else {
            options.caFile = file
        }
        if let proxy { options.proxy = .url(proxy) }
    }

    func checkCABundle(_ settings: AWSSettings) throws {
        guard let file = caBundle ?? settings.caFile, access(file, R_OK) != 0 else { return }
        throw Failure(
            "cannot read the CA bundle \(file)", because: String(cString: strerror(errno)),
            fix: "give --ca-bundle (or AWS_CA_BUNDLE) a PEM file that can be read")
    }

    private func endpoint(
        _ settings: AWSSettings, _ given: String?, _ givenRegion: String?
    ) throws -> Endpoint {
        let region = region ?? givenRegion ?? settings.region ?? "us-east-1"
        guard Endpoint.isRegion(region) else {
            throw Failure(
                "cannot use the region \(region)", because: "it has other bytes than letters, digits, - and _",
                fix: "set --region, AWS_REGION or the profile's region to a name such as eu-west-1")
        }
        let addressing = pathStyle ? .path : virtualHostStyle ? .virtualHost : settings.addressing
        guard let url = endpoint ?? given ?? settings.endpointURL else {
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
