import Controller
import Kubernetes

/// Why the broker didn't do what it was asked, with the HTTP status that says so.
public struct BrokerFailure: Error, Sendable, Equatable, CustomStringConvertible {
    public var status: Int
    /// One word for machines.
    public var reason: String
    public var message: String

    public init(_ status: Int, _ reason: String, _ message: String) {
        self.status = status
        self.reason = reason
        self.message = message
    }

    public var description: String { message }

    static func refused(_ reason: String, _ message: String) -> Self { Self(422, reason, message) }
    static func refusal(_ refusal: Refusal) -> Self {
        Self(refusal.reason == Refusal.notAllowed ? 403 : 422, refusal.reason, refusal.message)
    }
    static func taken(_ name: String, _ namespace: String) -> Self {
        Self(
            409, "SecretTaken",
            "Secret \(namespace)/\(name) is there and isn't the broker's; choose another secretName or remove it")
    }
    static func kubernetes(_ error: APIError) -> Self {
        switch error.code {
        case 400..<500 where error.code != 429: Self(error.code, error.reason, error.description)
        default: Self(503, error.reason, "the API server: \(error.description)")
        }
    }
}

/// A call whose failure is the broker's.
func asking<T: Sendable>(_ call: () async throws(APIError) -> T) async throws(BrokerFailure) -> T {
    do throws(APIError) { return try await call() } catch { throw .kubernetes(error) }
}
