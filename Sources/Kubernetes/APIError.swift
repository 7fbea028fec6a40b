/// Why the API server didn't do what it was asked.
public struct APIError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The HTTP status; 0 where there was no answer at all.
    public var code: Int
    /// Kubernetes' word: NotFound, Conflict, AlreadyExists, Expired, Invalid, Forbidden, …; ours without an answer:
    /// `Network`, `BadAnswer`.
    public var reason: String
    public var message: String
    /// Fields that were found wrong, as `field: message`.
    public var causes: [String] = []
    /// The server asks to wait this long.
    public var retryAfterSeconds: Int?
    /// What was asked, as `create persistentvolumes pvc-1`.
    public var operation: String = ""

    public init(code: Int, reason: String, message: String) {
        self.code = code
        self.reason = reason
        self.message = message
    }

    public static func network(_ message: String) -> APIError { APIError(code: 0, reason: "Network", message: message) }
    public static func badAnswer(_ message: String) -> APIError {
        APIError(code: 0, reason: "BadAnswer", message: message)
    }

    /// From an answer's body, which is a Status unless something between us and the server answered.
    public init(status code: Int, headers: [String: String], body: [UInt8]) {
        let status = try? JSON(parsing: body)
        self.init(
            code: code, reason: status?["reason"]?.string ?? Self.reason(for: code),
            message: status?["message"]?.string ?? "HTTP status \(code) without a Status object")
        causes = (status?.at("details", "causes")?.array ?? []).map {
            "\($0["field"]?.string ?? "?"): \($0["message"]?.string ?? "")"
        }
        retryAfterSeconds =
            headers["retry-after"].flatMap { Int($0) }
            ?? status?.at("details", "retryAfterSeconds")?.integer
    }

    private static func reason(for code: Int) -> String {
        switch code {
        case 401: "Unauthorized"
        case 403: "Forbidden"
        case 404: "NotFound"
        case 409: "Conflict"
        case 410: "Expired"
        case 422: "Invalid"
        case 429: "TooManyRequests"
        case 503: "ServiceUnavailable"
        case 504: "Timeout"
        default: "InternalError"
        }
    }

    public var isNotFound: Bool { code == 404 }
    public var isAlreadyExists: Bool { reason == "AlreadyExists" }
    /// The object was changed or replaced meanwhile: read it again.
    public var isConflict: Bool { reason == "Conflict" }
    /// The resourceVersion is too old: list again.
    public var isExpired: Bool { code == 410 || reason == "Expired" || reason == "Gone" }
    public var isInvalid: Bool { reason == "Invalid" || code == 400 }
    public var isForbidden: Bool { code == 403 }
    public var isNamespaceTerminating: Bool { isForbidden && message.contains("is being terminated") }

    public var description: String {
        let what = operation.isEmpty ? "" : "\(operation): "
        return "\(what)\(message) (\(reason)\(code == 0 ? "" : ", \(code)"))"
    }
}
