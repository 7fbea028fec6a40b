import CCurl
import Curl
import Threads

/// One HTTP exchange of an operation. Confined to its thread.
final class Attempt: TransferDelegate {
    let operation: Operation
    let easy: Easy
    let credentials: Credentials?
    let isHedge: Bool
    let started = Instant.now
    private(set) var head = ResponseHead()
    /// The answer was looked at and its body is what was asked for.
    private(set) var isAccepted = false
    /// What is wrong, found before the transfer's own end.
    var failure: AttemptFailure?
    /// Removed, or about to be: nothing of it counts any more.
    var isAbandoned = false
    /// Bytes of the body so far, and when the last came.
    private(set) var received: UInt64 = 0
    private(set) var lastByte: Instant
    private var errorBody: [UInt8] = []

    private static let maxErrorBytes = 64 << 10

    init(_ operation: Operation, _ easy: Easy, _ credentials: Credentials?, isHedge: Bool) {
        self.operation = operation
        self.easy = easy
        self.credentials = credentials
        self.isHedge = isHedge
        lastByte = started
    }

    func transfer(_ easy: Easy, header line: UnsafeRawBufferPointer) {
        let wasComplete = head.isComplete
        head.add(line)
        guard head.isComplete, !wasComplete, !isAbandoned else { return }
        lastByte = .now
        operation.sawHead(head)
        let metrics = operation.client.metrics
        metrics.firstByte(operation.name).observe(lastByte.ms(since: started) / 1000)
        metrics.answered(operation.name, status: head.status)
        guard (200..<300).contains(head.status) else { return }
        failure = operation.check(self)
        isAccepted = failure == nil
        if isAccepted { operation.accepted(self) }
    }

    func transfer(_ easy: Easy, body bytes: UnsafeRawBufferPointer) -> Bool {
        if isAbandoned || failure != nil { return false }
        lastByte = .now
        received += UInt64(bytes.count)
        if isAccepted { return operation.received(bytes, self) }
        guard errorBody.count + bytes.count <= Self.maxErrorBytes else { return false }
        errorBody.append(contentsOf: bytes)
        return true
    }

    func transfer(_ easy: Easy, finished code: CURLcode) {
        guard !isAbandoned else { return }
        if !head.isComplete { operation.client.metrics.answered(operation.name, status: 0) }
        operation.finished(self, code)
    }

    /// Why the exchange failed; nil if it did not.
    func outcome(_ code: CURLcode) -> AttemptFailure? {
        if let failure { return failure }
        if head.isComplete, !(200..<300).contains(head.status) { return .status(serverError) }
        if code == CURLE_OK { return nil }
        if code == CURLE_WEIRD_SERVER_REPLY || code == CURLE_UNSUPPORTED_PROTOCOL {
            return .badAnswer("no HTTP answer: \(easy.errorMessage(code))")
        }
        return .network(easy.errorMessage(code), isFinal: Self.isFinal(code))
    }

    private var serverError: ServerError {
        var error = ServerError(status: head.status)
        if let fields = XMLFields.parse(errorBody) {
            error.code = fields["Code"] ?? ""
            error.message = fields["Message"] ?? ""
            error.region = fields["Region"]
        }
        let current = operation.client.currentEndpoint.region
        error.region = head.bucketRegion ?? error.region
        // It becomes part of a host's name and of a header, so it is taken only where it can be a region.
        if error.region == current || !(error.region.map(Endpoint.isRegion) ?? true) { error.region = nil }
        if let date = head.date { error.clockOffset = date - WallClock.now }
        return error
    }

    /// Trying again can't help: a certificate, a URL, a CA file.
    private static func isFinal(_ code: CURLcode) -> Bool {
        [
            CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CACERT_BADFILE, CURLE_SSL_CERTPROBLEM, CURLE_URL_MALFORMAT,
            CURLE_COULDNT_RESOLVE_PROXY, CURLE_SSL_ISSUER_ERROR, CURLE_SSL_PINNEDPUBKEYNOTMATCH,
        ].contains(code)
    }
}
