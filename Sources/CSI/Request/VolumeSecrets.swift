import FoundationEssentials
import NodeProtocol

/// A volume's secrets (nodePublishSecretRef's data), in every spelling of the systems that people come from.
struct VolumeSecrets {
    var accessKeyID: String?
    var secretAccessKey: Secret?
    var sessionToken: Secret?
    /// What some keep beside the keys; a volume attribute goes first.
    var endpoint: String?
    var region: String?
    var serviceAccountTokens: Secret?
    /// For web servers: HTTP's basic authentication, and lines of the request's head.
    var username: String?
    var password: Secret?
    var headers: [Secret] = []

    init(_ secrets: [String: String]) throws(Refusal) {
        for (name, value) in secrets.sorted(by: { $0.key < $1.key }) {
            // Keys are often stored with the newline of the `echo` that made them.
            let value = value.trimmed
            switch name {
            case "accessKeyID", "accessKeyId", "awsAccessKeyID", "AWS_ACCESS_KEY_ID", "key_id":
                accessKeyID = try Self.one(accessKeyID, value, name)
            case "secretAccessKey", "secretKey", "awsSecretAccessKey", "AWS_SECRET_ACCESS_KEY", "access_key":
                secretAccessKey = Secret(try Self.one(secretAccessKey?.exposed, value, name))
            case "sessionToken", "awsSessionToken", "AWS_SESSION_TOKEN", "session_token":
                sessionToken = value.isEmpty ? nil : Secret(value)
            case "endpoint", "AWS_ENDPOINT_URL": endpoint = try VolumeAttributes.url(value, name)
            case "region", "AWS_REGION", "AWS_DEFAULT_REGION": region = value.isEmpty ? nil : value
            // Pachyderm's gateway takes a session's token for both keys.
            case "token", "pachydermToken":
                accessKeyID = try Self.one(accessKeyID, value, name)
                secretAccessKey = Secret(try Self.one(secretAccessKey?.exposed, value, name))
            case "username": username = value
            case "password": password = Secret(value)
            case _ where name.hasPrefix("header."):
                headers.append(Secret("\(name.dropFirst(7)): \(try Self.one(nil, value, name))"))
            case VolumeAttributes.tokensKey: serviceAccountTokens = Secret(value)
            default:
                throw .invalid(
                    "secret key \(Checks.quoted(name)) is not known; use accessKeyID, secretAccessKey and sessionToken")
            }
        }
    }

    private static func one(_ before: String?, _ value: String, _ name: String) throws(Refusal) -> String {
        guard before == nil || before == value else {
            throw .invalid("secret key \(Checks.quoted(name)) says something else than another spelling of it")
        }
        guard !value.isEmpty, Checks.isPrintable(value) else {
            throw .invalid("secret key \(Checks.quoted(name)) is empty or has control characters")
        }
        return value
    }

    /// What the session signs its requests with.
    func credentials(for attributes: VolumeAttributes) throws(Refusal) -> SessionCredentials {
        if attributes.view.web != nil { return try webCredentials() }
        // Keys beside an anonymous dataset are for its revisions' manifests.
        if attributes.isAnonymous, attributes.view.revision == nil || accessKeyID == nil {
            guard accessKeyID == nil && secretAccessKey == nil else {
                throw .invalid("volume attribute \"anonymous\" is true, but the volume has secrets; drop one of them")
            }
            return .anonymous
        }
        if let role = attributes.roleARN {
            return .webIdentity(roleARN: role, token: try webIdentityToken(attributes))
        }
        guard let id = accessKeyID else {
            throw .invalid(
                "secret key \"accessKeyID\" is missing; set nodePublishSecretRef, or the attribute \"anonymous\"")
        }
        guard let secret = secretAccessKey else { throw .invalid("secret key \"secretAccessKey\" is missing") }
        return .keys(accessKeyID: id, secretAccessKey: secret, sessionToken: sessionToken)
    }

    /// User and password also in the spelling of CDI, whose http sources have them as accessKeyId and secretKey.
    private func webCredentials() throws(Refusal) -> SessionCredentials {
        var lines = headers
        switch (username ?? accessKeyID, password ?? secretAccessKey) {
        case (nil, nil): break
        case (let user?, let password?):
            guard !user.contains(":") else {
                throw .invalid("secret key \"username\" has a colon, which HTTP can't send")
            }
            let token = Data("\(user):\(password.exposed)".utf8).base64EncodedString()
            lines.append(Secret("Authorization: Basic \(token)"))
        case (nil, _?): throw .invalid("secret key \"username\" is missing beside \"password\"")
        case (_?, nil): throw .invalid("secret key \"password\" is missing beside \"username\"")
        }
        return lines.isEmpty ? .anonymous : .headers(lines)
    }

    private struct Token: Decodable {
        var token: String
    }

    private func webIdentityToken(_ attributes: VolumeAttributes) throws(Refusal) -> Secret {
        guard let json = serviceAccountTokens ?? attributes.serviceAccountTokens else {
            throw .invalid("\"roleARN\" needs a service account token; set tokenRequests in the CSIDriver")
        }
        guard let tokens = try? JSONDecoder().decode([String: Token].self, from: Data(json.exposed.utf8)) else {
            throw .invalid("\(VolumeAttributes.tokensKey) is not the JSON that Kubernetes sends")
        }
        guard let token = tokens["sts.amazonaws.com"] ?? (tokens.count == 1 ? tokens.first?.value : nil) else {
            throw .invalid("no service account token for the audience sts.amazonaws.com among \(tokens.count)")
        }
        return Secret(token.token)
    }
}

extension String {
    fileprivate var trimmed: String {
        var rest = self[...]
        while let last = rest.last, last.isWhitespace { rest.removeLast() }
        while let first = rest.first, first.isWhitespace { rest.removeFirst() }
        return String(rest)
    }
}
