import Curl

/// AWS' query protocol, which STS and IAM speak: a signed form is posted, XML comes back.
struct QueryAPI: Sendable {
    struct Failure: Error, Sendable, Equatable {
        /// The HTTP status; nil: no answer.
        var status: Int?
        /// The server's word, such as AccessDenied; the reason in words where there was no answer.
        var code: String
        var message = ""

        var description: String {
            status == nil ? code : "answered \(code)\(message.isEmpty ? "" : ": \(message)")"
        }
    }

    let url: String
    let region: String
    let connection: ConnectionOptions
    private let service: String
    private let http: PatientHTTP
    private let signer: Signer

    init(service: String, url: String, region: String, connection: ConnectionOptions, thread: TransferThread) {
        self.service = service
        self.url = url
        self.region = region
        self.connection = connection
        http = PatientHTTP(thread)
        signer = Signer(service: service)
    }

    /// For errors: which service of which host.
    var origin: String { "\(service.uppercased()) at \((try? URLParts(url))?.host ?? "an endpoint that is no URL")" }

    /// Answers what a 200 says. Calls back on the transfer thread, or at once where the URL is none.
    func send(
        _ parameters: [(String, String)], signedWith credentials: Credentials?,
        _ completion: @escaping @Sendable (Result<XMLFields.Document, Failure>) -> Void
    ) {
        // Blanks as %20: Ceph doesn't take a plus sign for one.
        let form = parameters.map { "\($0)=\(PercentEncoding.encode($1.utf8, keepsSlash: false))" }.joined(
            separator: "&")
        let parts: URLParts
        do throws(EndpointError) {
            parts = try URLParts(url)
        } catch { return completion(.failure(Failure(code: "\(error)"))) }
        let body = Array(form.utf8)
        http.send(
            { request(parts, body, credentials) },
            { result in
                switch result {
                case .failure(let error): completion(.failure(Failure(code: "\(error)")))
                case .success(let response): completion(Self.document(response))
                }
            })
    }

    private func request(_ parts: URLParts, _ body: [UInt8], _ credentials: Credentials?) -> HTTPRequest {
        let path = parts.path.isEmpty ? "/" : parts.path
        var host = parts.host
        if let port = parts.port, port != (parts.isSecure ? 443 : 80) { host += ":\(port)" }
        var headers = [(name: "Content-Type", value: "application/x-www-form-urlencoded; charset=utf-8")]
        if let credentials {
            let time = WallClock.now
            var signed = [
                (name: "content-type", value: headers[0].value), (name: "host", value: host),
                (name: "x-amz-date", value: AmzDate(time).text),
            ]
            if let token = credentials.sessionToken { signed.append(("x-amz-security-token", token.reveal())) }
            let authorization = signer.authorization(
                Signer.Request(
                    method: "POST", path: path, query: "", headers: signed,
                    payloadHash: Digest.hex(Digest.sha256(body))), credentials, region: region, time: time)
            headers += signed.filter { $0.name.hasPrefix("x-amz-") } + [("Authorization", authorization)]
        }
        var request = HTTPRequest(
            "POST", "\(parts.isSecure ? "https" : "http")://\(host)\(path)", headers: headers, body: body,
            timeoutMs: 10_000)
        request.connection = connection
        request.maxBodyBytes = 256 << 10
        return request
    }

    static func document(_ response: HTTPResponse) -> Result<XMLFields.Document, Failure> {
        let document = XMLFields.read(response.body) ?? XMLFields.Document()
        guard response.status == 200 else {
            return .failure(
                Failure(
                    status: response.status, code: document.fields["Code"] ?? "status \(response.status)",
                    message: document.fields["Message"] ?? ""))
        }
        return .success(document)
    }
}
