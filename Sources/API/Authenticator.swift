import Controller
import Kubernetes
import Threads

/// Turns bearer tokens into callers. Answers are kept for a short while, also "nobody", so that a busy client costs the
/// API server little; a token that was revoked works for at most that long. Tokens are kept as digests only.
final class Authenticator: Sendable {
    private struct Entry {
        var caller: Caller?
        var until: Instant
    }

    static let mostKept = 4096
    static let keptMs = 30_000
    static let refusalKeptMs = 5_000

    private let client: Client
    private let audiences: [String]
    private let entries = Locked<[String: Entry]>([:])

    /// - Parameter audiences: that a token must be for; empty: the API server's own.
    init(client: Client, audiences: [String]) {
        self.client = client
        self.audiences = audiences
    }

    /// What is known of a token without asking; the outer nil: nothing.
    func known(_ token: String, now: Instant = .now) -> Caller?? {
        let digest = SHA256.hex(token)
        return entries.withLock { entries in
            guard let entry = entries[digest], entry.until > now else { return .none }
            return .some(entry.caller)
        }
    }

    /// The token's owner; nil: it is nobody's.
    func ask(_ token: String, now: Instant = .now) async throws(Problem) -> Caller? {
        let digest = SHA256.hex(token)
        let status = try await asking { () async throws(APIError) in
            try await client.create(TokenReview(token, audiences: audiences))
        }.status
        var caller = status?.authenticated == true ? status?.user : nil
        // A server that knows no audiences answers none: then the token may be for somebody else.
        if !audiences.isEmpty, Set(status?.audiences ?? []).isDisjoint(with: audiences) { caller = nil }
        if caller?.username?.isEmpty != false { caller = nil }
        let entry = Entry(
            caller: caller, until: now.advanced(byMs: caller == nil ? Self.refusalKeptMs : Self.keptMs))
        entries.withLock { entries in
            if entries.count >= Self.mostKept { entries = entries.filter { $0.value.until > now } }
            // Still full: who floods us with tokens makes others' be asked for again, and that is all.
            if entries.count >= Self.mostKept { entries = [:] }
            entries[digest] = entry
        }
        return caller
    }

    var keptCount: Int { entries.withLock(\.count) }
}
