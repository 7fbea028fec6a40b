import ArgumentParser
import S3

/// How to reach the bucket: the options that every command has.
struct ConnectionArguments: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "S3 endpoint. Default: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, or AWS itself.", valueName: "url"))
    var endpoint: String?

    @Option(help: ArgumentHelp("Region. Default: AWS_REGION, the profile's, or us-east-1.", valueName: "name"))
    var region: String?

    @Flag(help: "Bucket in the path: http://host/bucket/key (default with --endpoint).")
    var pathStyle = false

    @Flag(help: "Bucket in the host name: http://bucket.host/key (default for AWS).")
    var virtualHostStyle = false

    @Option(
        help: ArgumentHelp("Profile of ~/.aws/config and ~/.aws/credentials. Default: AWS_PROFILE.", valueName: "name"))
    var profile: String?

    @Flag(help: "Send no credentials (public buckets).")
    var anonymous = false

    @Option(
        help: ArgumentHelp(
            "File of CA certificates to trust. Default: AWS_CA_BUNDLE, or the system's.", valueName: "file"))
    var caBundle: String?

    @Option(help: ArgumentHelp("HTTP proxy. Default: https_proxy and http_proxy.", valueName: "url"))
    var proxy: String?

    @Flag(help: "Agree to pay for requests to a requester-pays bucket.")
    var requesterPays = false

    @Option(
        help: ArgumentHelp(
            "Configuration file. Default: MILLRACE_CONFIG, or ~/.config/millrace/config.", valueName: "file"))
    var config: String?

    @Option(help: ArgumentHelp("trace, debug, info, notice, warning, error or critical.", valueName: "level"))
    var logLevel: LogLevel = .init(level: .notice)

    @Option(help: ArgumentHelp("text or json.", valueName: "format"))
    var logFormat: LogFormat = .text

    func validate() throws {
        if let endpoint {
            do {
                _ = try Endpoint(url: endpoint)
            } catch {
                throw ValidationError("--endpoint: \(error).")
            }
            // A name alone is more likely a bucket or a slip than a host of this network.
            guard endpoint.contains("://") || endpoint.contains(".") || endpoint.contains(":") else {
                throw ValidationError("--endpoint: \"\(endpoint)\" is no URL; give it as https://\(endpoint)[:port].")
            }
        }
        if let region, !Endpoint.isRegion(region) {
            throw ValidationError("--region: \"\(region)\" has other bytes than letters, digits, - and _.")
        }
        if pathStyle && virtualHostStyle {
            throw ValidationError("--path-style and --virtual-host-style exclude each other; give one of them.")
        }
        if anonymous && profile != nil {
            throw ValidationError("--anonymous and --profile exclude each other; give one of them.")
        }
    }
}
