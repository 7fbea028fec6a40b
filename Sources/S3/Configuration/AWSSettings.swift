/// What AWS' environment variables and the profile say of S3 itself; nil where they say nothing.
public struct AWSSettings: Sendable, Equatable {
    public var region: String?
    public var endpointURL: String?
    public var stsEndpointURL: String?
    public var addressing: Endpoint.Addressing?
    public var caFile: String?

    /// `profile`: asked for by the user; nil: AWS_PROFILE, else "default".
    public init(_ environment: Environment, profile: String? = nil) throws(ConfigurationError) {
        let shared = try SharedConfig(environment)
        let name = profile ?? environment["AWS_PROFILE"] ?? "default"
        let settings = shared.profile(name)
        if settings == nil, profile != nil || environment["AWS_PROFILE"] != nil {
            throw ConfigurationError(
                "there is no profile \"\(name)\" in \(shared.files); correct the name, or add a section [profile \(name)]"
            )
        }
        let ignores =
            (environment["AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"] ?? settings?["ignore_configured_endpoint_urls"])
            .map { $0.lowercased() == "true" } ?? false
        region = environment["AWS_REGION"] ?? environment["AWS_DEFAULT_REGION"] ?? settings?["region"]
        if !ignores {
            let general = environment["AWS_ENDPOINT_URL"]
            endpointURL = environment["AWS_ENDPOINT_URL_S3"] ?? general ?? settings?["endpoint_url"]
            stsEndpointURL = environment["AWS_ENDPOINT_URL_STS"] ?? general ?? settings?["endpoint_url"]
        }
        caFile = environment["AWS_CA_BUNDLE"] ?? settings?["ca_bundle"]
        switch settings?["s3.addressing_style"] {
        case "path": addressing = .path
        case "virtual": addressing = .virtualHost
        case nil, "auto": break
        case let other?:
            throw ConfigurationError(
                "\(settings?.description ?? "the profile"): addressing_style is \"\(other)\"; give auto, path or virtual"
            )
        }
    }

    public init() {}
}
