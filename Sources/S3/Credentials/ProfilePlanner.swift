/// Follows a profile to where its credentials come from, through `source_profile`s.
struct ProfilePlanner {
    private let environment: Environment
    private let shared: SharedConfig
    private static let maxChain = 5

    init(_ environment: Environment) throws(ConfigurationError) {
        self.environment = environment
        shared = try SharedConfig(environment)
    }

    var files: String { shared.files }

    /// The profile says something of credentials (and not only, say, of the region).
    func hasCredentials(_ name: String) -> Bool {
        guard let profile = shared.profile(name) else { return false }
        return [
            "aws_access_key_id", "aws_secret_access_key", "role_arn", "credential_process", "sso_session",
            "sso_start_url",
        ]
        .contains { profile[$0] != nil }
    }

    func plan(_ name: String) throws(ConfigurationError) -> CredentialsPlan { try plan(name, visited: []) }

    private func plan(_ name: String, visited: [String]) throws(ConfigurationError) -> CredentialsPlan {
        guard let profile = shared.profile(name) else {
            throw ConfigurationError(
                "there is no profile \"\(name)\" in \(shared.files); correct the name, or add a section [profile \(name)]"
            )
        }
        // A profile that assumes a role with its own keys names itself.
        if visited.last == name, let keys = try keys(profile) { return keys }
        guard !visited.contains(name), visited.count < Self.maxChain else {
            throw ConfigurationError(
                "\(profile.description): source_profile goes round: \((visited + [name]).joined(separator: " → "))")
        }
        if let role = profile["role_arn"] { return try planRole(role, profile, visited + [name]) }
        if let keys = try keys(profile) { return keys }
        if let command = profile["credential_process"] { return .process(command: command, profile: name) }
        if profile["sso_session"] != nil || profile["sso_start_url"] != nil {
            throw ConfigurationError(
                "\(profile.description) signs in with SSO, which is not supported; set credential_process = "
                    + "aws configure export-credentials --profile \(name)")
        }
        throw ConfigurationError(
            "\(profile.description) has no credentials: set aws_access_key_id and aws_secret_access_key, role_arn or "
                + "credential_process")
    }

    private func planRole(
        _ arn: String, _ profile: SharedConfig.Profile, _ visited: [String]
    ) throws(ConfigurationError) -> CredentialsPlan {
        if let file = profile["web_identity_token_file"] {
            return .webIdentity(
                CredentialsPlan.WebIdentity(
                    roleARN: arn, tokenFile: file, sessionName: profile["role_session_name"] ?? "millrace"))
        }
        var role = CredentialsPlan.AssumedRole(roleARN: arn)
        role.externalID = profile["external_id"]
        role.sessionName = profile["role_session_name"] ?? role.sessionName
        role.durationSeconds = profile["duration_seconds"].flatMap { Int($0) }
        if profile["mfa_serial"] != nil {
            throw ConfigurationError(
                "\(profile.description) needs an MFA token (mfa_serial), which nobody can type here")
        }
        switch (profile["source_profile"], profile["credential_source"]) {
        case (let source?, _): return .assumeRole(role, source: try plan(source, visited: visited))
        case (nil, "Environment"):
            guard let source = try CredentialsPlan.fromKeys(environment) else {
                throw ConfigurationError(
                    "\(profile.description) takes its credentials from the environment, where AWS_ACCESS_KEY_ID is not set"
                )
            }
            return .assumeRole(role, source: source)
        case (nil, "Ec2InstanceMetadata"): return .assumeRole(role, source: CredentialsPlan.fromInstance(environment))
        case (nil, "EcsContainer"):
            guard let source = try CredentialsPlan.fromContainer(environment) else {
                throw ConfigurationError(
                    "\(profile.description) takes its credentials from the container, whose AWS_CONTAINER_CREDENTIALS_… "
                        + "variables are not set")
            }
            return .assumeRole(role, source: source)
        case (nil, let other):
            throw ConfigurationError(
                "\(profile.description) has role_arn and \(other.map { "an unknown credential_source \"\($0)\"" } ?? "no source_profile"); "
                    + "set source_profile, credential_source or web_identity_token_file")
        }
    }

    private func keys(_ profile: SharedConfig.Profile) throws(ConfigurationError) -> CredentialsPlan? {
        switch (profile["aws_access_key_id"], profile["aws_secret_access_key"]) {
        case (nil, nil): return nil
        case (let key?, let secret?):
            let credentials = try CredentialsPlan.checked(
                Credentials(
                    accessKeyID: key, secretAccessKey: Secret(secret),
                    sessionToken: profile["aws_session_token"].map { Secret($0) }), from: profile.description)
            return .fixed(credentials, origin: profile.description)
        default:
            throw ConfigurationError(
                "\(profile.description) has only one of aws_access_key_id and aws_secret_access_key; set both")
        }
    }
}

/// Which hosts may get the container's token over plain HTTP: those that are on this machine.
enum ContainerURL {
    static func check(_ url: String) throws(ConfigurationError) {
        let name = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
        let parts: URLParts
        do throws(EndpointError) {
            parts = try URLParts(String(url.prefix { $0 != "?" }))
        } catch { throw ConfigurationError("\(name): \(error)") }
        if parts.isSecure { return }
        let isLoopback = parts.host == "localhost" || parts.host == "[::1]" || isIPv4Loopback(parts.host)
        let isEndpoint = ["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"].contains(parts.host)
        guard isLoopback || isEndpoint else {
            throw ConfigurationError(
                "\(name) names the host \(parts.host), which is not on this machine; it must be https then")
        }
    }

    /// A name such as 127.example.com is not.
    private static func isIPv4Loopback(_ host: String) -> Bool {
        let parts = host.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
    }
}
