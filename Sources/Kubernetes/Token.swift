import FoundationEssentials
import Synchronization
import Threads

/// A bearer token that may be in a file which is replaced under way.
final class TokenSource: Sendable {
    private let credentials: Configuration.Credentials
    private let cache = Mutex<(token: String, readAt: Threads.Instant)?>(nil)
    private let freshMs: Int

    init(_ credentials: Configuration.Credentials, freshMs: Int = 60_000) {
        self.credentials = credentials
        self.freshMs = freshMs
    }

    /// The token to send now; nil where none is used. Throws if its file can't be read and none was read before.
    func current() throws(APIError) -> String? {
        switch credentials {
        case .none: return nil
        case .token(let token): return token
        case .tokenFile(let path):
            let known = cache.withLock { $0 }
            if let known, Threads.Instant.now.ms(since: known.readAt) < Double(freshMs) { return known.token }
            guard let data = FileManager.default.contents(atPath: path), !data.isEmpty else {
                if let known { return known.token }
                throw .network("the token file \(path) can't be read or is empty")
            }
            var token = String(decoding: data, as: UTF8.self)
            while token.last?.isWhitespace == true { token.removeLast() }
            cache.withLock { [token] in $0 = (token, .now) }
            return token
        }
    }

    /// The server refused the token: read it again next time.
    func refused() { cache.withLock { $0 = nil } }
}
