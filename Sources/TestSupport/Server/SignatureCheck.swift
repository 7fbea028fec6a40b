import Glibc

/// A key pair that an `S3Server` accepts.
public struct ServerCredentials: Sendable, Equatable {
    public var accessKey: String
    public var secretKey: String
    public var sessionToken: String?

    public init(accessKey: String, secretKey: String, sessionToken: String? = nil) {
        self.accessKey = accessKey
        self.secretKey = secretKey
        self.sessionToken = sessionToken
    }
}

/// Checks AWS Signature Version 4 in the Authorization header. Written apart from the client's signer, so that one
/// mistake can't hide in both.
struct SignatureCheck {
    var credentials: [ServerCredentials]
    var region: String
    /// Seconds since 1970 by the server's clock.
    var now: Int64

    /// Nil: the signature is right. Otherwise S3's error.
    func refusal(of request: HTTPRequest) -> HTTPResponse? {
        guard let header = request.header("authorization") else {
            return .error(403, "AccessDenied", "Access Denied")
        }
        let scheme = "AWS4-HMAC-SHA256 "
        guard header.hasPrefix(scheme) else {
            return .error(400, "InvalidRequest", "The authorization mechanism you have provided is not supported.")
        }
        var fields: [String: String] = [:]
        for field in header.dropFirst(scheme.count).split(separator: ",") {
            let sides = field.drop { $0 == " " }.split(separator: "=", maxSplits: 1)
            if sides.count == 2 { fields[String(sides[0])] = String(sides[1]) }
        }
        let scope = fields["Credential"]?.split(separator: "/", omittingEmptySubsequences: false).map(String.init) ?? []
        guard scope.count == 5, let names = fields["SignedHeaders"], let signature = fields["Signature"] else {
            return .error(400, "AuthorizationHeaderMalformed", "The authorization header is malformed.")
        }
        guard let owner = credentials.first(where: { $0.accessKey == scope[0] }) else {
            return .error(
                403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
        }
        guard scope[2] == region, scope[3] == "s3", scope[4] == "aws4_request" else {
            return .error(
                400, "AuthorizationHeaderMalformed",
                "The authorization header is malformed; the region '\(scope[2])' is wrong; expecting '\(region)'",
                extra: "<Region>\(region)</Region>")
        }
        let date = request.header("x-amz-date") ?? ""
        guard let signed = Timestamp.parseBasic(date), date.hasPrefix(scope[1]) else {
            return .error(403, "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
        }
        guard abs(signed - now) <= 900 else {
            return .error(
                403, "RequestTimeTooSkewed",
                "The difference between the request time and the server's time is too large.",
                extra: "<RequestTime>\(date)</RequestTime><ServerTime>\(Timestamp.iso(now))</ServerTime>")
        }
        guard request.header("x-amz-security-token") == owner.sessionToken else {
            return .error(400, "InvalidToken", "The provided token is malformed or otherwise invalid.")
        }
        guard let payload = request.header("x-amz-content-sha256") else {
            return .error(400, "InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
        }
        if payload.count == 64, payload != hex(digest(.sha256, request.body)) {
            return .error(
                400, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match the body.")
        }
        let headers = names.split(separator: ";").map(String.init)
        let unsigned = request.headers.map(\.name).first { $0.hasPrefix("x-amz-") && !headers.contains($0) }
        guard headers.contains("host"), unsigned == nil else {
            return .error(403, "AccessDenied", "There were headers present in the request which were not signed")
        }
        let canonical = canonicalRequest(request, headers, payload)
        let scopeText = scope[1...].joined(separator: "/")
        let toSign = "AWS4-HMAC-SHA256\n\(date)\n\(scopeText)\n\(hex(digest(.sha256, Array(canonical.utf8))))"
        var key = Array("AWS4\(owner.secretKey)".utf8)
        for part in scope[1...] { key = hmacSHA256(key: key, part) }
        guard hex(hmacSHA256(key: key, toSign)) == signature else {
            return .error(
                403, "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided.",
                extra: "<CanonicalRequest>\(xmlEscaped(canonical))</CanonicalRequest>")
        }
        return nil
    }

    private func canonicalRequest(_ request: HTTPRequest, _ headers: [String], _ payload: String) -> String {
        let query = request.query.map { (percentEncoded($0.name), percentEncoded($0.value)) }.sorted { $0 < $1 }
        let values = headers.map { name in
            let all = request.headers.filter { $0.name == name }.map {
                $0.value.split(separator: " ").joined(separator: " ")
            }
            return "\(name):\(all.joined(separator: ","))\n"
        }
        return [
            request.method, percentEncoded(percentDecoded(request.rawPath), keepsSlash: true),
            query.map { "\($0)=\($1)" }.joined(separator: "&"), values.joined(), headers.joined(separator: ";"),
            payload,
        ].joined(separator: "\n")
    }
}
