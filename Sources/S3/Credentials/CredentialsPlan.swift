/// Where credentials are to come from, as the environment and AWS' files say. No I/O but reading those files, so that
/// the order of precedence can be tested by itself.
public indirect enum CredentialsPlan: Sendable, Equatable {
    case fixed(Credentials, origin: String)
    /// A program that prints credentials.
    case process(command: String, profile: String)
    case webIdentity(WebIdentity)
    case assumeRole(AssumedRole, source: CredentialsPlan)
    /// ECS, EKS Pod Identity.
    case container(url: String, token: Secret?, tokenFile: String?)
    case instanceMetadata(endpoint: String)
    case anonymous

    public struct WebIdentity: Sendable, Equatable {
        public var roleARN: String
        public var tokenFile: String
        public var sessionName: String

        public init(roleARN: String, tokenFile: String, sessionName: String = "millrace") {
            self.roleARN = roleARN
            self.tokenFile = tokenFile
            self.sessionName = sessionName
        }
    }

    public struct AssumedRole: Sendable, Equatable {
        public var roleARN: String
        public var externalID: String?
        public var sessionName = "millrace"
        public var durationSeconds: Int?

        public init(roleARN: String) { self.roleARN = roleARN }
    }

    static let instanceMetadataEndpoint = "http://169.254.169.254"
    static let ecsEndpoint = "http://169.254.170.2"

    /// A profile that was asked for by name goes before everything; else the environment, web identity, the profile
    /// (AWS_PROFILE or "default"), the container's endpoint and, last, the instance's metadata.
    public static func resolve(_ environment: Environment, profile: String? = nil) throws(ConfigurationError)
        -> CredentialsPlan
    {
        if let profile { return try ProfilePlanner(environment).plan(profile) }
        if let plan = try fromKeys(environment) { return plan }
        if let file = environment["AWS_WEB_IDENTITY_TOKEN_FILE"], let role = environment["AWS_ROLE_ARN"] {
            let name = environment["AWS_ROLE_SESSION_NAME"] ?? "millrace"
            return .webIdentity(WebIdentity(roleARN: role, tokenFile: file, sessionName: name))
        }
        let planner = try ProfilePlanner(environment)
        let name = environment["AWS_PROFILE"]
        if name != nil || planner.hasCredentials("default") { return try planner.plan(name ?? "default") }
        if let plan = try fromContainer(environment) { return plan }
        if environment["AWS_EC2_METADATA_DISABLED"]?.lowercased() == "true" {
            throw ConfigurationError(
                "no credentials were found in the environment or in \(planner.files); set AWS_ACCESS_KEY_ID and "
                    + "AWS_SECRET_ACCESS_KEY, use a profile, or ask for anonymous access")
        }
        return fromInstance(environment)
    }

    static func fromKeys(_ environment: Environment) throws(ConfigurationError) -> CredentialsPlan? {
        let names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        switch (environment[names.0], environment[names.1]) {
        case (nil, nil): return nil
        case (let key?, let secret?):
            let credentials = try checked(
                Credentials(
                    accessKeyID: key, secretAccessKey: Secret(secret),
                    sessionToken: environment["AWS_SESSION_TOKEN"].map { Secret($0) }), from: "the environment")
            return .fixed(credentials, origin: "the environment")
        case (let key, _):
            let (there, missing) = key == nil ? (names.1, names.0) : names
            throw ConfigurationError("\(there) is set and \(missing) is not; set both or neither")
        }
    }

    static func fromContainer(_ environment: Environment) throws(ConfigurationError) -> CredentialsPlan? {
        let url: String
        if let path = environment["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"] {
            guard path.hasPrefix("/") else {
                throw ConfigurationError(
                    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is \"\(path)\", which does not begin with /")
            }
            url = ecsEndpoint + path
        } else if let full = environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"] {
            url = full
            try ContainerURL.check(full)
        } else {
            return nil
        }
        return .container(
            url: url, token: environment["AWS_CONTAINER_AUTHORIZATION_TOKEN"].map { Secret($0) },
            tokenFile: environment["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"])
    }

    static func fromInstance(_ environment: Environment) -> CredentialsPlan {
        let endpoint = environment["AWS_EC2_METADATA_SERVICE_ENDPOINT"] ?? instanceMetadataEndpoint
        return .instanceMetadata(endpoint: endpoint.hasSuffix("/") ? String(endpoint.dropLast()) : endpoint)
    }

    /// A line end in a key would end up in a header.
    static func checked(_ credentials: Credentials, from origin: String) throws(ConfigurationError) -> Credentials {
        let parts = [
            ("access key", credentials.accessKeyID), ("secret key", credentials.secretAccessKey.reveal()),
            ("session token", credentials.sessionToken?.reveal() ?? "x"),
        ]
        for (name, value) in parts where value.isEmpty || value.utf8.contains(where: { $0 <= 0x20 || $0 >= 0x7F }) {
            throw ConfigurationError("the \(name) from \(origin) has a blank, a line end or a byte that no key has")
        }
        return credentials
    }
}
