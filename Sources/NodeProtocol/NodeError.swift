import SystemPackage

/// What goes wrong between the processes of a node. Never carries a secret.
public enum NodeError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The other end went away.
    case closed
    /// The other end did not answer in time.
    case timedOut(String)
    case system(Errno, String)
    /// Bytes that are not the protocol, or of a version that cannot be read.
    case malformed(String)
    /// The other end answered that it can't.
    case refused(Reason, String)

    /// Why a request was refused; raw values are on the wire.
    public enum Reason: Int, Sendable {
        case failed = 1
        /// No such session, item or bucket.
        case notFound = 2
        /// The object store rejects the credentials.
        case denied = 3
        /// The object store, or what else is needed, can't be reached now.
        case unavailable = 4
        case invalid = 5
        case exists = 6
        /// A limit is reached.
        case exhausted = 7
        /// Another one holds it.
        case busy = 8
        case unsupported = 9
    }

    public var description: String {
        switch self {
        case .closed: "the connection was closed"
        case .timedOut(let what): "\(what): no answer in time"
        case .system(let errno, let what): "\(what): \(errno)"
        case .malformed(let what): "malformed message: \(what)"
        case .refused(_, let message): message
        }
    }

    /// The error of the C call that just failed.
    static func last(_ what: String) -> NodeError { .system(Errno.current, what) }
}
