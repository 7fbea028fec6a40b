import Controller
import Kubernetes

/// Why a request wasn't done: the HTTP status, one word for machines, and what to do in words.
struct Problem: Error, Sendable, Equatable {
    var status: Int
    /// `NotFound`, `BadField`, …
    var reason: String
    var message: String
    /// After how long it is worth another try.
    var retryAfterSeconds: Int?

    init(_ status: Int, _ reason: String, _ message: String, retryAfterSeconds: Int? = nil) {
        self.status = status
        self.reason = reason
        self.message = message
        self.retryAfterSeconds = retryAfterSeconds
    }

    static func badField(_ message: String) -> Problem { Problem(400, "BadField", message) }
    static func conflict(_ reason: String, _ message: String) -> Problem { Problem(409, reason, message) }
    static func refused(_ refusal: Refusal) -> Problem {
        Problem(refusal.reason == Refusal.notAllowed ? 403 : 422, refusal.reason, refusal.message)
    }

    /// What the API server said, as far as it is the caller's to mend.
    static func kubernetes(_ error: APIError) -> Problem {
        switch error.code {
        case 400..<500 where error.code != 401 && error.code != 408 && error.code != 429:
            Problem(error.code, error.reason, error.description)
        default:
            Problem(
                503, "KubernetesUnavailable", "the Kubernetes API doesn't do it now: \(error.description)",
                retryAfterSeconds: error.retryAfterSeconds ?? 2)
        }
    }

    /// RFC 9457.
    var document: JSON {
        [
            "type": "about:blank", "title": .string(reason), "status": .integer(status), "detail": .string(message),
        ]
    }
}

/// A call to the API server whose failure is the request's.
func asking<T: Sendable>(_ call: () async throws(APIError) -> T) async throws(Problem) -> T {
    do throws(APIError) { return try await call() } catch { throw .kubernetes(error) }
}

/// As `asking`; nil where there is no such object.
func finding<T: Sendable>(_ call: () async throws(APIError) -> T) async throws(Problem) -> T? {
    do throws(APIError) { return try await call() } catch {
        if error.isNotFound { return nil }
        throw .kubernetes(error)
    }
}
