import FoundationEssentials

/// Credentials as the container's endpoint, the instance's metadata and credential programs write them.
struct CredentialsJSON: Decodable {
    var AccessKeyId: String?
    var SecretAccessKey: String?
    var Token: String?
    var SessionToken: String?
    var Expiration: String?
    /// The instance's metadata: "Success", or what is wrong.
    var Code: String?

    /// `origin` is for errors, which never quote the text.
    static func parse(_ bytes: [UInt8], origin: String) -> Result<Credentials, S3Error> {
        func wrong(_ why: String) -> Result<Credentials, S3Error> { .failure(.credentials("\(origin) \(why)")) }
        guard bytes.count <= 64 << 10, let json = try? JSONDecoder().decode(CredentialsJSON.self, from: Data(bytes))
        else {
            return wrong("gave no JSON that this understands")
        }
        if let code = json.Code, code != "Success" { return wrong("answered \"\(code.prefix(64))\"") }
        guard let key = json.AccessKeyId, let secret = json.SecretAccessKey else {
            return wrong("gave JSON without AccessKeyId or SecretAccessKey")
        }
        var expires: Int64?
        if let text = json.Expiration {
            guard let time = Dates.parseISO8601(text) else { return wrong("gave an Expiration that is no date") }
            expires = time
        }
        let credentials = Credentials(
            accessKeyID: key, secretAccessKey: Secret(secret),
            sessionToken: (json.Token ?? json.SessionToken).map { Secret($0) }, expires: expires)
        do throws(ConfigurationError) {
            return .success(try CredentialsPlan.checked(credentials, from: origin))
        } catch { return wrong("gave credentials that are none: \(error)") }
    }
}
