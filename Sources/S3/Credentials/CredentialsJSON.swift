import FoundationEssentials

/// Credentials as the container's endpoint, the instance's metadata and credential programs write them.
struct CredentialsJSON: Decodable {
    var accessKeyID: String?
    var secretAccessKey: String?
    var token: String?
    var sessionToken: String?
    var expiration: String?
    /// The instance's metadata: "Success", or what is wrong.
    var code: String?

    private enum CodingKeys: String, CodingKey {
        case accessKeyID = "AccessKeyId"
        case secretAccessKey = "SecretAccessKey"
        case token = "Token"
        case sessionToken = "SessionToken"
        case expiration = "Expiration"
        case code = "Code"
    }

    /// `origin` is for errors, which never quote the text.
    static func parse(_ bytes: [UInt8], origin: String) -> Result<Credentials, S3Error> {
        func wrong(_ why: String) -> Result<Credentials, S3Error> { .failure(.credentials("\(origin) \(why)")) }
        guard bytes.count <= 64 << 10, let json = try? JSONDecoder().decode(CredentialsJSON.self, from: Data(bytes))
        else {
            return wrong("gave no JSON that this understands")
        }
        if let code = json.code, code != "Success" { return wrong("answered \"\(code.prefix(64))\"") }
        guard let key = json.accessKeyID, let secret = json.secretAccessKey else {
            return wrong("gave JSON without AccessKeyId or SecretAccessKey")
        }
        var expires: Int64?
        if let text = json.expiration {
            guard let time = Dates.parseISO8601(text) else { return wrong("gave an Expiration that is no date") }
            expires = time
        }
        let credentials = Credentials(
            accessKeyID: key, secretAccessKey: Secret(secret),
            sessionToken: (json.token ?? json.sessionToken).map { Secret($0) }, expires: expires)
        do throws(ConfigurationError) {
            return .success(try CredentialsPlan.checked(credentials, from: origin))
        } catch { return wrong("gave credentials that are none: \(error)") }
    }
}
