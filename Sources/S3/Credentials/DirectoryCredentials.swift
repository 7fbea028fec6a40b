import Glibc
import Threads

/// Keys in the files of a directory, as Kubernetes shows a Secret's: one file for each key, under any of the known
/// spellings. What is put there later is used from then on, so keys that expire can be renewed under a long copy.
public final class DirectoryCredentials: CredentialsSource {
    private struct Known {
        var value: Credentials?
        var readAt: Instant
    }

    public let origin: String
    private let directory: String
    private let known = Locked<Known?>(nil)
    private static let trustedMs = 5_000.0

    /// Nothing is read yet.
    public init(_ directory: String) {
        self.directory = directory
        origin = "the files in \(directory)"
    }

    public func credentials(_ completion: @escaping @Sendable (Result<Credentials?, S3Error>) -> Void) {
        let known = known.withLock { $0 }
        if let known, Instant.now.ms(since: known.readAt) < Self.trustedMs { return completion(.success(known.value)) }
        do throws(ConfigurationError) {
            completion(.success(try read()))
        } catch {
            completion(.failure(.credentials(error.description)))
        }
    }

    public func refused(_ credentials: Credentials) -> Bool {
        guard let now = try? read() else { return false }
        return now != credentials
    }

    /// Nil where no key is there: requests are not signed. Throws where there is only one of the two.
    @discardableResult
    public func read() throws(ConfigurationError) -> Credentials? {
        let id = value(KeySpellings.accessKeyID)
        let secret = value(KeySpellings.secretAccessKey)
        var found: Credentials?
        switch (id, secret) {
        case (nil, nil): break
        case (let id?, let secret?):
            found = try CredentialsPlan.checked(
                Credentials(
                    accessKeyID: id, secretAccessKey: Secret(secret),
                    sessionToken: value(KeySpellings.sessionToken).map { Secret($0) }), from: origin)
        case (nil, _):
            throw ConfigurationError("\(directory) has a secret key and no access key; add accessKeyID to the Secret")
        case (_, nil):
            throw ConfigurationError(
                "\(directory) has an access key and no secret key; add secretAccessKey to the Secret")
        }
        known.withLock { $0 = Known(value: found, readAt: .now) }
        return found
    }

    /// The first of these files that has something in it; blanks and line ends around it don't count.
    public func value(_ names: [String]) -> String? {
        // The kubelet changes all files at once by changing where `..data` points.
        let place = realpath("\(directory)/..data", nil)
        defer { free(place) }
        let folder = place.map { String(cString: $0) } ?? directory
        for name in names {
            guard let text = Self.text(of: "\(folder)/\(name)") else { continue }
            let trimmed = text.drop(while: \.isWhitespace).reversed().drop(while: \.isWhitespace).reversed()
            if !trimmed.isEmpty { return String(trimmed) }
        }
        return nil
    }

    private static func text(of path: String) -> String? {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 64 << 10)
        let n = Glibc.read(file, &bytes, bytes.count)
        return n > 0 ? String(decoding: bytes[..<n], as: UTF8.self) : nil
    }
}
