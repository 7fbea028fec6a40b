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
