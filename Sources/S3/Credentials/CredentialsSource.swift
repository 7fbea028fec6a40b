/// Gives keys to sign with; asked before each request, so an answer that is known comes at once.
public protocol CredentialsSource: AnyObject, Sendable {
    /// Calls back once, on this thread or another; nil: requests are not signed.
    func credentials(_ completion: @escaping @Sendable (Result<Credentials?, S3Error>) -> Void)

    /// The server refuses these as expired. True: the next call gives others, so that trying once more makes sense.
    func refused(_ credentials: Credentials) -> Bool

    /// Where they come from, for people: "the environment", "profile \"x\" in /root/.aws/credentials".
    var origin: String { get }
}

/// Keys that never change, or none.
public final class StaticCredentials: CredentialsSource {
    private let value: Credentials?
    public let origin: String

    public init(_ value: Credentials?, origin: String) {
        self.value = value
        self.origin = origin
    }

    public static let anonymous = StaticCredentials(nil, origin: "anonymous access")

    public func credentials(_ completion: @escaping @Sendable (Result<Credentials?, S3Error>) -> Void) {
        completion(.success(value))
    }

    public func refused(_ credentials: Credentials) -> Bool { false }
}
