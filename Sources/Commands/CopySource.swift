import Copy
import Curl
import Glibc
import HTTPStore
import Logging
import PrometheusMetrics
import S3

/// Where a copy comes from: S3 or a web server, as the command line and an importer's environment say.
enum CopySource: Equatable {
    case s3(SourceURL)
    /// URLs of files, or one that ends in a slash: everything its index pages list.
    case web([String])

    init(_ texts: [String]) throws {
        if texts.allSatisfy({ $0.hasPrefix("http://") || $0.hasPrefix("https://") }), !texts.isEmpty {
            if texts.count > 1, let index = texts.first(where: { $0.hasSuffix("/") }) {
                throw Failure(
                    "cannot copy \(Self.shown(index))", because: "it is an index among other URLs",
                    fix: "copy it by itself; a URL without a slash at its end is a file")
            }
            self = .web(texts)
        } else if texts.count == 1, let url = SourceURL(argument: texts[0]) {
            self = .s3(url)
        } else if texts.isEmpty {
            throw Failure(
                "nothing to copy", because: "no source is given",
                fix: "millrace cp SOURCE DEST, or set IMPORTER_ENDPOINT to an s3://, http:// or https:// URL")
        } else {
            throw Failure(
                "cannot copy \(Self.shown(texts[0]))",
                because: "it isn't one s3:// URL, or http:// and https:// URLs alone",
                fix: "give s3://BUCKET/KEY, s3://BUCKET/PREFIX/ or URLs of files")
        }
    }

    /// A URL without what may be a password in it.
    static func shown(_ url: String) -> String {
        guard let scheme = url.range(of: "://"), let at = url[scheme.upperBound...].firstIndex(of: "@") else {
            return url
        }
        return String(url[..<scheme.upperBound]) + "***" + url[at...]
    }

    var description: String {
        switch self {
        case .s3(let url): url.description
        case .web(let urls): Self.shown(urls[0]) + (urls.count > 1 ? " and \(urls.count - 1) more" : "")
        }
    }

    var isPrefix: Bool {
        switch self {
        case .s3(let url): url.path.isEmpty || url.path.hasSuffix("/")
        case .web(let urls): urls.count > 1 || urls[0].hasSuffix("/")
        }
    }
}

extension String {
    func range(of text: String) -> Range<String.Index>? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(text) { return start..<index(start, offsetBy: text.count) }
            start = index(after: start)
        }
        return nil
    }
}

/// What a Job tells a copy by its environment, in the words that importers have had since CDI.
struct ImporterEnvironment {
    var environment: Environment

    /// The source as URLs. With IMPORTER_SOURCE=s3 an http URL is ENDPOINT/BUCKET/KEY.
    var sources: [String] {
        guard let endpoint = environment["IMPORTER_ENDPOINT"] else { return [] }
        guard environment["IMPORTER_SOURCE"]?.lowercased() == "s3", let parts = Self.split(endpoint) else {
            return [endpoint]
        }
        return ["s3://\(parts.path)"]
    }

    /// The S3 endpoint, where IMPORTER_ENDPOINT is one.
    var endpoint: String? {
        guard let endpoint = environment["IMPORTER_ENDPOINT"], let parts = Self.split(endpoint) else { return nil }
        return parts.server
    }

    /// Nil: there are none.
    func credentials() throws -> (any CredentialsSource)? {
        guard let id = environment["IMPORTER_ACCESS_KEY_ID"] else { return nil }
        guard let secret = environment["IMPORTER_SECRET_KEY"] else {
            throw Failure(
                "no credentials", because: "IMPORTER_ACCESS_KEY_ID is set and IMPORTER_SECRET_KEY is not",
                fix: "set both or neither")
        }
        return StaticCredentials(
            Credentials(
                accessKeyID: id, secretAccessKey: Secret(secret),
                sessionToken: environment["IMPORTER_SESSION_TOKEN"].map { Secret($0) }),
            origin: "IMPORTER_ACCESS_KEY_ID")
    }

    private static func split(_ url: String) -> (server: String, path: String)? {
        guard url.hasPrefix("http://") || url.hasPrefix("https://"), let scheme = url.range(of: "://") else {
            return nil
        }
        let slash = url[scheme.upperBound...].firstIndex(of: "/") ?? url.endIndex
        let path = slash == url.endIndex ? "" : String(url[url.index(after: slash)...])
        return (String(url[..<slash]), path)
    }
}

/// Header lines out of a file, or out of all files of a directory (a Secret's): `Name: value`, one a line.
enum HeaderFiles {
    static func read(_ path: String) throws -> [(name: String, value: String)] {
        var headers: [(name: String, value: String)] = []
        for file in try TextFiles.read(path) {
            for line in file.text.split(whereSeparator: \.isNewline) where !line.allSatisfy(\.isWhitespace) {
                guard let colon = line.firstIndex(of: ":"), colon > line.startIndex else {
                    // Not the line itself: it may hold a secret.
                    throw Failure(
                        "cannot use the headers in \(file.path)", because: "a line has no colon",
                        fix: "write each header as Name: value, one a line")
                }
                let value = line[line.index(after: colon)...].drop(while: \.isWhitespace)
                headers.append((String(line[..<colon]), String(value)))
            }
        }
        return headers
    }
}

/// Text files of a file or a directory, in the order of their names.
enum TextFiles {
    static let mostBytes = 1 << 20

    static func read(_ path: String) throws -> [(path: String, text: String)] {
        var status = stat()
        guard stat(path, &status) == 0 else { throw cannot(path, errno) }
        guard status.st_mode & S_IFMT == S_IFDIR else { return [(path, try text(path))] }
        guard let stream = opendir(path) else { throw cannot(path, errno) }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            // Kubernetes' own: ..data and the directories with a time in their name.
            if !name.hasPrefix(".") { names.append(name) }
        }
        return try names.sorted().compactMap { name in
            let file = "\(path)/\(name)"
            guard stat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
            return (file, try text(file))
        }
    }

    private static func text(_ path: String) throws -> String {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw cannot(path, errno) }
        defer { close(file) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let n = Glibc.read(file, &chunk, chunk.count)
            if n < 0 && errno == EINTR { continue }
            guard n > 0 else { break }
            bytes += chunk[..<n]
            guard bytes.count <= 64 * mostBytes else {
                throw Failure("cannot read \(path)", because: "it is larger than 64 MiB", fix: "name another file")
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func cannot(_ path: String, _ reason: Int32) -> Failure {
        Failure(
            "cannot read \(path)", because: String(cString: strerror(reason)),
            fix: "name a file or a directory that can be read")
    }
}

extension CopyCommand {
    /// Opens the source. No request is made.
    func open(
        _ source: CopySource, _ importer: ImporterEnvironment, _ metrics: Registry, _ logger: Logger
    ) throws -> any ObjectStore {
        let directory = credentialsDir.map { DirectoryCredentials($0) }
        do throws(ConfigurationError) { try directory?.read() } catch {
            throw Failure("no credentials", because: "\(error)", fix: "correct the Secret, or leave both keys out")
        }
        let credentials: (any CredentialsSource)? = try directory ?? importer.credentials()
        switch source {
        case .s3(let url):
            var opened = try connection.open(
                bucket: url.bucket, endpoint: importer.endpoint ?? directory?.value(KeySpellings.endpoint),
                region: directory?.value(KeySpellings.region), credentials: credentials)
            opened.configuration.connection.addresses = try addresses()
            opened.configuration.hedges = false
            return opened.client(registry: metrics, logger: logger)
        case .web(let urls): return try openWeb(urls, credentials, directory, logger)
        }
    }

    /// Where nothing was typed: what the Secret or the environment names.
    func sources(_ importer: ImporterEnvironment) -> [String] {
        let directory = credentialsDir.map { DirectoryCredentials($0) }
        guard let path = directory?.value(["objectPath", "object_path"]) else { return importer.sources }
        return ["s3://\(path.drop { $0 == "/" })"]
    }

    func addresses() throws -> AddressPolicy? {
        let allowed = try allowAddress.map { text in
            guard let range = AddressRange(text) else {
                throw Failure(
                    "--allow-address \(text)", because: "it is no range of addresses", fix: "give one like 10.0.0.0/8")
            }
            return range
        }
        return limitAddresses ? AddressPolicy(allowing: allowed) : nil
    }
}
