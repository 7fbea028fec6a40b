/// Why a request to S3 failed, after its retries.
public enum S3Error: Error, Sendable, Equatable {
    /// 404 NoSuchKey.
    case noSuchKey
    /// 404 NoSuchBucket.
    case noSuchBucket
    /// 412, or an answer of another version: the object was replaced.
    case changed
    /// 403. `code` is S3's own: AccessDenied, InvalidAccessKeyId, SignatureDoesNotMatch, …
    case denied(code: String, message: String)
    /// The object is archived (InvalidObjectState).
    case archived
    /// Credentials can't be had; the text says from where and why.
    case credentials(String)
    /// The answer makes no sense: wrong range, too many bytes, malformed XML.
    case badAnswer(String)
    /// No connection, a reset, TLS, DNS: curl's words.
    case network(String)
    /// Nothing came before the deadline.
    case timedOut
    /// Any other status.
    case status(Int, code: String, message: String)
    case cancelled
}

extension S3Error: CustomStringConvertible {
    public var description: String {
        switch self {
        case .noSuchKey: "no such object"
        case .noSuchBucket: "no such bucket"
        case .changed: "the object was replaced meanwhile"
        case .denied(let code, let message): "access denied (\(code)\(message.isEmpty ? "" : ": \(message)"))"
        case .archived: "the object is archived and must be restored first"
        case .credentials(let why): "no credentials: \(why)"
        case .badAnswer(let why): "the server's answer makes no sense: \(why)"
        case .network(let why): "can't reach the server: \(why)"
        case .timedOut: "no answer in time"
        case .status(let status, let code, let message):
            "the server answered \(status)\(code.isEmpty ? "" : " \(code)")\(message.isEmpty ? "" : ": \(message)")"
        case .cancelled: "cancelled"
        }
    }
}
