import Testing

@testable import S3

/// Which source the environment and AWS' files stand for.
@Suite struct CredentialsPlanTests {
    private let directory = TemporaryDirectory()

    private func plan(
        _ variables: [String: String], config: String = "", credentials: String = "", profile: String? = nil
    ) throws -> CredentialsPlan {
        var variables = variables
        variables["AWS_CONFIG_FILE"] = directory.write("config", config)
        variables["AWS_SHARED_CREDENTIALS_FILE"] = directory.write("credentials", credentials)
        return try CredentialsPlan.resolve(Environment(variables), profile: profile)
    }

    private func key(_ plan: CredentialsPlan) -> String? {
        if case .fixed(let credentials, _) = plan { credentials.accessKeyID } else { nil }
    }

    private let environmentKeys = ["AWS_ACCESS_KEY_ID": "E", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"]
    private let keys =
        "[default]\naws_access_key_id=D\naws_secret_access_key=s\n[p]\naws_access_key_id=P\naws_secret_access_key=s\n"

    @Test func theirOrderIsThatOfAWSTools() throws {
        let web = ["AWS_WEB_IDENTITY_TOKEN_FILE": "/token", "AWS_ROLE_ARN": "arn:r", "AWS_ROLE_SESSION_NAME": "me"]
        let container = ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/x"]
        func merged(_ all: [String: String]...) -> [String: String] {
            all.reduce(into: [:]) { $0.merge($1) { first, _ in first } }
        }
        #expect(try key(plan(environmentKeys, credentials: keys, profile: "p")) == "P")
        #expect(try key(plan(merged(environmentKeys, web, container), credentials: keys)) == "E")
        let identity = CredentialsPlan.WebIdentity(roleARN: "arn:r", tokenFile: "/token", sessionName: "me")
        #expect(try plan(merged(web, container), credentials: keys) == .webIdentity(identity))
        #expect(try key(plan(container, credentials: keys)) == "D")
        #expect(try key(plan(merged(container, ["AWS_PROFILE": "p"]), credentials: keys)) == "P")
        // A default profile that only names a region has no credentials.
        #expect(
            try plan(container, config: "[default]\nregion = x")
                == .container(url: "http://169.254.170.2/x", token: nil, tokenFile: nil))
        #expect(try plan([:]) == .instanceMetadata(endpoint: "http://169.254.169.254"))
    }

    @Test func rolesAreFollowedToTheirSource() throws {
        let config = """
            [profile role]
            role_arn = arn:role
            source_profile = p
            external_id = ext
            duration_seconds = 900
            [profile chained]
            role_arn = arn:chained
            source_profile = role
            [profile self]
            role_arn = arn:self
            source_profile = self
            aws_access_key_id = S
            aws_secret_access_key = s
            [profile process]
            credential_process = /bin/x --flag
            [profile web]
            role_arn = arn:web
            web_identity_token_file = /web
            [profile environment]
            role_arn = arn:e
            credential_source = Environment
            """
        func planned(_ profile: String) throws -> CredentialsPlan {
            try plan(environmentKeys, config: config, credentials: keys, profile: profile)
        }
        guard case .assumeRole(let outer, let inner) = try planned("chained"), outer.roleARN == "arn:chained",
            case .assumeRole(let role, let source) = inner
        else {
            Issue.record("no chain of roles")
            return
        }
        #expect(role.roleARN == "arn:role" && role.externalID == "ext" && role.durationSeconds == 900)
        #expect(key(source) == "P")
        guard case .assumeRole(_, let own) = try planned("self") else {
            Issue.record("no role")
            return
        }
        #expect(key(own) == "S")
        #expect(try planned("process") == .process(command: "/bin/x --flag", profile: "process"))
        #expect(try planned("web") == .webIdentity(.init(roleARN: "arn:web", tokenFile: "/web")))
        guard case .assumeRole(_, let environment) = try planned("environment") else {
            Issue.record("no role")
            return
        }
        #expect(key(environment) == "E")
    }

    @Test func mistakesAreNamedWithTheirCure() throws {
        let config = """
            [profile loop]
            role_arn = arn:a
            source_profile = pool
            [profile pool]
            role_arn = arn:b
            source_profile = loop
            [profile half]
            aws_access_key_id = SECRETISH
            [profile sso]
            sso_session = x
            [profile empty]
            region = x
            [profile alone]
            role_arn = arn:x
            [profile mfa]
            role_arn = arn:x
            source_profile = half
            mfa_serial = 1
            """
        for (profile, words) in [
            ("missing", "add a section"), ("loop", "goes round"), ("half", "set both"), ("sso", "export-credentials"),
            ("empty", "credential_process"), ("alone", "set source_profile"), ("mfa", "MFA"),
        ] {
            #expect {
                try plan([:], config: config, profile: profile)
            } throws: {
                let text = ($0 as! ConfigurationError).description
                return text.contains(words) && text.contains(profile) && !text.contains("SECRETISH")
            }
        }
        for (variables, words) in [
            (["AWS_ACCESS_KEY_ID": "a"], "AWS_SECRET_ACCESS_KEY is not"),
            (["AWS_SECRET_ACCESS_KEY": "a"], "AWS_ACCESS_KEY_ID is not"),
            (["AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b\r\nX: y"], "line end"),
            (["AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://example.com/x"], "https"),
            (["AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1.example.com/x"], "https"),
            (["AWS_EC2_METADATA_DISABLED": "true"], "anonymous"), (["AWS_PROFILE": "none"], "no profile"),
        ] {
            #expect { try plan(variables) } throws: { ($0 as! ConfigurationError).description.contains(words) }
        }
    }

    @Test func settingsComeFromTheEnvironmentThenTheProfile() throws {
        var variables = [
            "AWS_CONFIG_FILE": directory.write(
                "config",
                "[profile p]\nregion = eu-west-1\nendpoint_url = http://p\nca_bundle = /ca\ns3 =\n  addressing_style = virtual\n"
            ),
            "AWS_SHARED_CREDENTIALS_FILE": "/nowhere", "AWS_PROFILE": "p",
        ]
        var settings = try AWSSettings(Environment(variables))
        #expect(settings.region == "eu-west-1" && settings.endpointURL == "http://p" && settings.caFile == "/ca")
        #expect(settings.addressing == .virtualHost)
        variables["AWS_REGION"] = "x"
        variables["AWS_ENDPOINT_URL_S3"] = "http://e"
        settings = try AWSSettings(Environment(variables))
        #expect(settings.region == "x" && settings.endpointURL == "http://e" && settings.stsEndpointURL == "http://p")
        #expect(throws: ConfigurationError.self) { try AWSSettings(Environment(variables), profile: "none") }
    }
}
