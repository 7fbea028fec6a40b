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
    var body: OutgoingBody?
    /// Asks for each object's restored copy; only AWS knows this header, and others may refuse it.
    var wantsRestoreStatus = false
    /// Asks for the checksums that the store keeps of the object.
    var wantsChecksums = false

    /// Sets up a handle: URL, signature, connection.
    func apply(to easy: Easy, _ client: S3Client, _ credentials: Credentials?) {
        let configuration = client.configuration
        let endpoint = client.currentEndpoint
        let (host, path) = endpoint.locate(bucket: configuration.bucket, key: key)
        configuration.connection.apply(to: easy)
        easy.set(CURLOPT_URL, "\(endpoint.scheme)://\(host)\(path)\(query.isEmpty ? "" : "?")\(query)")
        easy.set(CURLOPT_PATH_AS_IS, 1)
        if let body {
            easy.setBody(body.bytes)
            easy.addHeader("Content-Type: \(body.type)")
        }
        switch method {
        case "HEAD": easy.set(CURLOPT_NOBODY, 1)
        case "GET": break
        default: easy.set(CURLOPT_CUSTOMREQUEST, method)
        }
        let payloadHash = body?.sha256 ?? Digest.emptyHex
        for (name, value) in headers { easy.addHeader("\(name): \(value)") }
        easy.addHeader("Host: \(host)")
        easy.addHeader("User-Agent: millrace")
        var amazon: [(name: String, value: String)] = []
        if wantsRestoreStatus && endpoint.isAWS { amazon.append(("x-amz-optional-object-attributes", "RestoreStatus")) }
        if wantsChecksums { amazon.append(("x-amz-checksum-mode", "ENABLED")) }
        if configuration.requesterPays { amazon.append(("x-amz-request-payer", "requester")) }
        for (name, value) in amazon { easy.addHeader("\(name): \(value)") }
        guard let credentials else { return }

        let time = client.serverTime
        var own = [
            (name: "x-amz-content-sha256", value: payloadHash), (name: "x-amz-date", value: AmzDate(time).text),
        ]
        if let token = credentials.sessionToken { own.append(("x-amz-security-token", token.reveal())) }
        for (name, value) in own { easy.addHeader("\(name): \(value)") }
        // "host" comes before every "x-amz-".
        let signed = [(name: "host", value: host)] + (own + amazon).sorted { $0.name < $1.name }
        let authorization = client.signer.authorization(
            Signer.Request(method: method, path: path, query: query, headers: signed, payloadHash: payloadHash),
            credentials, region: endpoint.region, time: time)
        easy.addHeader("Authorization: \(authorization)")
    }
}

/// A request's body, with the digest that is signed: made once, however often the request is repeated.
struct OutgoingBody: Sendable {
    var bytes: [UInt8]
    var type: String
    /// In hex.
    var sha256: String

    init(_ bytes: [UInt8], type: String = "application/octet-stream") {
        self.bytes = bytes
        self.type = type
        sha256 = Digest.hex(Digest.sha256(bytes))
    }
}
