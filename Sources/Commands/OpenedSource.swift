import Glibc
import HTTPStore
import Logging
import Manifests
import PrometheusMetrics
import S3
import Threads

/// A source that is about to be mounted.
struct OpenedSource {
    var store: any ObjectStore
    /// Names the source to the caches.
    var bucket: String
    var prefix = ObjectKey("")
    /// Of the snapshot that is shown.
    var revision: String?
    /// When its root was asked for.
    var sent = Instant.now
    /// Waits for the first page of the root's listing.
    var root: () throws -> ListPage
}

extension ConnectionArguments {
    /// - Parameter revision: a manifest, as a file or an object: a snapshot is shown instead of what is there now.
    func open(
        _ source: MountSource, revision: String?, timeoutMs: Int, headersFile: String?, spoolDirectory: String?,
        registry: Registry, logger: Logger
    ) throws -> OpenedSource {
        switch source {
        case .web(let url):
            guard revision == nil else {
                throw Failure(
                    "cannot mount \(url)", because: "revisions are of buckets", fix: "leave out --revision")
            }
            return try openWeb(url, timeoutMs, headersFile, spoolDirectory, logger)
        case .s3(let url):
            let bucket = try open(bucket: url.bucket)
            let store = bucket.client(timeoutMs: timeoutMs, registry: registry, logger: logger)
            if let revision { return try openRevision(revision, of: url, store) }
            let root = Listing(store: bucket.client(timeoutMs: Connection.impatientMs), source: url).start(
                ListRequest(prefix: url.directoryPrefix, delimiter: UInt8(ascii: "/")))
            return OpenedSource(store: store, bucket: url.bucket, prefix: url.directoryPrefix, root: root)
        }
    }

    private func openRevision(_ place: String, of url: SourceURL, _ store: S3Client) throws -> OpenedSource {
        let manifest = try manifest(place)
        let info = manifest.info
        guard info.bucket == url.bucket, url.directoryPrefix.bytes.starts(with: info.prefix.utf8) else {
            throw Failure(
                "cannot mount \(url)", because: "\(place) is a snapshot of s3://\(info.bucket)/\(info.prefix)",
                fix: "mount that, or a directory in it")
        }
        let request = ListRequest(prefix: url.directoryPrefix, delimiter: UInt8(ascii: "/"))
        return OpenedSource(
            store: ManifestStore(manifest, store: store), bucket: url.bucket, prefix: url.directoryPrefix,
            revision: String(info.digest.prefix(8)), root: { try manifest.list(request) })
    }

    /// A manifest in a file, or in an object: `s3://bucket/key`.
    func manifest(_ place: String) throws -> Manifest {
        func failure(_ why: String) -> Failure {
            Failure(
                "cannot read the revision \(place)", because: why,
                fix: "give --revision a file or s3://BUCKET/KEY that `millrace snapshot` wrote")
        }
        guard place.hasPrefix("s3://") else {
            do throws(ManifestError) { return try Manifest(file: place) } catch { throw failure("\(error)") }
        }
        guard let url = SourceURL(argument: place), !url.path.isEmpty else { throw failure("it names no object") }
        let client = try open(bucket: url.bucket).client()
        let answer = Promise<Result<Manifest, S3Error>>()
        ManifestDownload.fetch(ObjectKey(url.path), from: client) { answer.fulfil($0) }
        do throws(S3Error) {
            return try (answer.wait(until: .now.advanced(byMs: 300_000)) ?? .failure(.timedOut)).get()
        } catch {
            throw Explanation(error, source: url).failure("cannot read the revision \(place)")
        }
    }

    private func openWeb(
        _ url: String, _ timeoutMs: Int, _ headersFile: String?, _ spoolDirectory: String?, _ logger: Logger
    ) throws -> OpenedSource {
        var source = HTTPSource(url: url)
        source.requestTimeoutMs = timeoutMs
        source.connection.caFile = caBundle
        // Who types the URL may reach what is on their machine.
        source.connection.addresses = nil
        if let proxy { source.connection.proxy = .url(proxy) }
        if let spoolDirectory { source.spoolDirectory = spoolDirectory }
        if let headersFile { source.headers = try WebHeaders.read(headersFile) }
        let environment = Environment.process
        // Not by options: everybody may see those in the list of processes.
        if let user = environment["MILLRACE_HTTP_USER"] {
            source.authenticate(user: user, password: environment["MILLRACE_HTTP_PASSWORD"] ?? "")
        }
        let store: HTTPStore
        do throws(HTTPSourceError) { store = try HTTPStore(source, engine: TransferEngine(), logger: logger) } catch {
            throw Failure(
                "cannot mount \(url.contains("@") ? "this URL" : url)", because: "\(error)",
                fix: "give an index (https://host/directory/) or a list (https://host/list.txt)")
        }
        let answer = Promise<Result<ListPage, S3Error>>()
        // Not more, as each file of an HTML page is asked for.
        let first = ListRequest(prefix: ObjectKey(""), delimiter: UInt8(ascii: "/"), maxKeys: 100)
        store.list(first) { answer.fulfil($0) }
        return OpenedSource(
            store: store, bucket: url,
            root: {
                do throws(S3Error) {
                    let answer = answer.wait(until: .now.advanced(byMs: Connection.impatientMs)) ?? .failure(.timedOut)
                    return try answer.get()
                } catch {
                    throw Failure(
                        "cannot mount \(url)", because: "\(error)",
                        fix: "see what the server answers: curl -i \(url); for a password set MILLRACE_HTTP_USER and "
                            + "MILLRACE_HTTP_PASSWORD")
                }
            })
    }
}

/// Headers of a file: a line "Name: value" for each.
enum WebHeaders {
    static func read(_ path: String) throws -> [(name: String, value: String)] {
        func failure(_ why: String) -> Failure {
            Failure(
                "cannot use the headers of \(path)", because: why, fix: "write a line \"Name: value\" for each header")
        }
        guard let file = fopen(path, "re") else { throw failure(String(cString: strerror(errno))) }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 64 << 10)
        let count = fread(&bytes, 1, bytes.count, file)
        var headers: [(name: String, value: String)] = []
        for (number, line) in String(decoding: bytes[..<count], as: UTF8.self).split(whereSeparator: \.isNewline)
            .enumerated()
        where !line.allSatisfy(\.isWhitespace) && !line.hasPrefix("#") {
            guard let colon = line.firstIndex(of: ":"), colon != line.startIndex else {
                throw failure("line \(number + 1) has no name")
            }
            headers.append((String(line[..<colon]), String(line[line.index(after: colon)...].drop { $0 == " " })))
        }
        return headers
    }
}
