import GRPCCore
import Glibc
import NodeProtocol

/// Why a call was refused, as its caller sees it. The message names the thing, the cause and the fix, and no secret.
struct Refusal: Error, Equatable, CustomStringConvertible {
    var code: RPCError.Code
    var message: String

    init(_ code: RPCError.Code, _ message: String) {
        self.code = code
        self.message = message
    }

    static func invalid(_ message: String) -> Refusal { Refusal(.invalidArgument, message) }

    /// What an engine said, or that it said nothing.
    init(_ error: NodeError, _ what: String) {
        switch error {
        case .refused(let reason, let message):
            let code: RPCError.Code =
                switch reason {
                case .notFound: .notFound
                case .denied: .permissionDenied
                case .unavailable, .busy: .unavailable
                case .invalid: .invalidArgument
                case .exhausted: .resourceExhausted
                case .exists, .failed, .unsupported: .internalError
                }
            self.init(code, "\(what): \(message)")
        case .closed, .timedOut:
            self.init(.unavailable, "\(what): the engine does not answer (\(error)); it is being restarted, try again")
        case .system(let errno, _)
        where [.tooManyOpenFiles, .tooManyOpenFilesInSystem, .noSpace, .noMemory].contains(errno):
            self.init(.resourceExhausted, "\(what): \(error)")
        case .system, .malformed:
            self.init(.internalError, "\(what): \(error)")
        }
    }

    var description: String { "\(code): \(message)" }
    var rpcError: RPCError { RPCError(code: code, message: message) }
}

extension Refusal {
    /// A system call that failed.
    static func system(_ what: String, _ errno: Int32) -> Refusal {
        let cause = String(cString: strerror(errno))
        switch errno {
        case EMFILE, ENFILE, ENOSPC, ENOMEM, EDQUOT:
            return Refusal(.resourceExhausted, "\(what): \(cause)")
        default:
            return Refusal(.internalError, "\(what): \(cause)")
        }
    }
}
