import Threads

/// AWS Signature Version 4 in the Authorization header.
/// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
///
/// S3's paths are signed as they are sent, neither normalised nor encoded twice.
final class Signer: Sendable {
    struct Request {
        var method: String
        /// Percent-encoded.
        var path: String
        /// Percent-encoded, sorted by name, each with "=".
        var query: String
        /// Names in lower case, sorted; all are signed.
        var headers: [(name: String, value: String)]
        /// Hex of the body's SHA-256, or UNSIGNED-PAYLOAD.
        var payloadHash: String
    }

    private struct KeyScope: Equatable {
        var accessKeyID: String
        var secret: Secret
        var date: String
        var region: String
    }

    private let service: String
    /// The key changes once a day, and costs four of a request's six hashes.
    private let cached = Locked<(scope: KeyScope, key: [UInt8])?>(nil)

    init(service: String = "s3") { self.service = service }

    /// The header's value. `time`: seconds since 1970, as in x-amz-date.
    func authorization(_ request: Request, _ credentials: Credentials, region: String, time: Int64) -> String {
        let date = AmzDate(time)
        let scope = "\(date.day)/\(region)/\(service)/aws4_request"
        let canonical = Array(Self.canonical(request).utf8)
        let toSign = "AWS4-HMAC-SHA256\n\(date.text)\n\(scope)\n\(Digest.hex(Digest.sha256(canonical)))"
        let key = signingKey(credentials, date.day, region)
        let signature = Digest.hex(Digest.hmac(key: key, Array(toSign.utf8)))
        let names = Self.signedNames(request)
        return
            "AWS4-HMAC-SHA256 Credential=\(credentials.accessKeyID)/\(scope),SignedHeaders=\(names),Signature=\(signature)"
    }

    static func canonical(_ request: Request) -> String {
        var text = "\(request.method)\n\(request.path)\n\(request.query)\n"
        for (name, value) in request.headers { text += "\(name):\(value)\n" }
        text += "\n\(signedNames(request))\n\(request.payloadHash)"
        return text
    }

    private static func signedNames(_ request: Request) -> String {
        request.headers.map(\.name).joined(separator: ";")
    }

    private func signingKey(_ credentials: Credentials, _ day: String, _ region: String) -> [UInt8] {
        let scope = KeyScope(
            accessKeyID: credentials.accessKeyID, secret: credentials.secretAccessKey, date: day, region: region)
        if let cached = cached.withLock({ $0 }), cached.scope == scope { return cached.key }
        var key = Array("AWS4".utf8) + Array(scope.secret.reveal().utf8)
        for part in [day, region, service, "aws4_request"] { key = Digest.hmac(key: key, Array(part.utf8)) }
        cached.withLock { [key] in $0 = (scope, key) }
        return key
    }
}
