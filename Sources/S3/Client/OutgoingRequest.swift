import CCurl
import Curl

/// A request before it is signed.
struct OutgoingRequest {
    var method = "GET"
    /// Nil: the bucket itself.
    var key: ObjectKey?
    /// Percent-encoded and sorted.
    var query = ""
    /// Unsigned, as a proxy may change them.
    var headers: [(name: String, value: String)] = []

    /// Sets up a handle: URL, signature, connection.
    func apply(to easy: Easy, _ client: S3Client, _ credentials: Credentials?) {
        let configuration = client.configuration
        let endpoint = client.currentEndpoint
        let (host, path) = endpoint.locate(bucket: configuration.bucket, key: key)
        configuration.connection.apply(to: easy)
        easy.set(CURLOPT_URL, "\(endpoint.scheme)://\(host)\(path)\(query.isEmpty ? "" : "?")\(query)")
        easy.set(CURLOPT_PATH_AS_IS, 1)
        if method == "HEAD" { easy.set(CURLOPT_NOBODY, 1) }
        for (name, value) in headers { easy.addHeader("\(name): \(value)") }
        easy.addHeader("Host: \(host)")
        easy.addHeader("User-Agent: millrace")
        if configuration.requesterPays { easy.addHeader("x-amz-request-payer: requester") }
        guard let credentials else { return }

        let time = client.serverTime
        var signed = [
            ("host", host), ("x-amz-content-sha256", Digest.emptyHex), ("x-amz-date", AmzDate(time).text),
        ]
        if configuration.requesterPays { signed.append(("x-amz-request-payer", "requester")) }
        if let token = credentials.sessionToken { signed.append(("x-amz-security-token", token.reveal())) }
        let authorization = client.signer.authorization(
            Signer.Request(
                method: method, path: path, query: query, headers: signed, payloadHash: Digest.emptyHex),
            credentials, region: endpoint.region, time: time)
        for (name, value) in signed where name.hasPrefix("x-amz-") && name != "x-amz-request-payer" {
            easy.addHeader("\(name): \(value)")
        }
        easy.addHeader("Authorization: \(authorization)")
    }
}
