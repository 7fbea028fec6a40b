import Logging
import S3
import Threads

/// Files on a web server as an object store: keys are paths, listings come from index pages or a list of URLs, and a GET
/// is of one version, told by its ETag or by time and size.
public final class HTTPStore: ObjectStore {
    let client: WebClient
    private let catalog: any Catalog
    private let bodies: WholeBodies
    private let gate: Gate
    private let logger: Logger

    /// Throws where a URL can't be used.
    public init(_ source: HTTPSource, engine: TransferEngine, logger: Logger) throws(HTTPSourceError) {
        self.logger = logger
        client = WebClient(source, engine: engine)
        gate = Gate(source.maxConnections)
        bodies = WholeBodies(directory: source.spoolDirectory, maxBytes: source.maxSpoolBytes)
        let probe = FileProbe(client, gate)
        switch source.location {
        case .index(let url):
            guard let address = WebAddress(url), url.hasSuffix("/") else { throw HTTPSourceError(url) }
            catalog = IndexCatalog(address, client, gate, probe, logger)
        case .list(let url):
            guard let address = WebAddress(url) else { throw HTTPSourceError(url) }
            catalog = ListCatalog(client, probe, logger, ttlMs: source.listingTTLMs) { [client, gate] completion in
                PageFetch.start(address, client, gate) { result in
                    completion(
                        result.flatMap { page in
                            do throws(URLList.Problem) {
                                let lines = String(decoding: page.body, as: UTF8.self).split(
                                    whereSeparator: \.isNewline)
                                return .success(try URLList(lines.map(String.init), relativeTo: address))
                            } catch { return .failure(.badAnswer(error.reason)) }
                        })
                }
            }
        case .urls(let lines):
            let list: URLList
            do throws(URLList.Problem) { list = try URLList(lines, relativeTo: nil) } catch {
                throw HTTPSourceError(description: error.reason)
            }
            catalog = ListCatalog(client, probe, logger, ttlMs: .max) { $0(.success(list)) }
        }
    }

    /// Other headers from now on: renewed credentials.
    public func replaceHeaders(_ headers: [(name: String, value: String)]) { client.replaceHeaders(headers) }

    // MARK: ObjectStore

    public func list(_ request: ListRequest, _ completion: @escaping @Sendable (Result<ListPage, S3Error>) -> Void) {
        // From elsewhere, as the caller may ask for the next page from within.
        let isRunning = client.after(ms: 0) { [catalog, client] in
            DirectoryListing(catalog, client, request, completion).start()
        }
        if !isRunning { completion(.failure(.cancelled)) }
    }

    public func head(_ key: ObjectKey, _ completion: @escaping @Sendable (Result<ObjectMetadata, S3Error>) -> Void) {
        let isRunning = client.after(ms: 0) { [catalog] in
            catalog.version(of: key.bytes) { completion($0.map(\.metadata)) }
        }
        if !isRunning { completion(.failure(.cancelled)) }
    }

    @discardableResult
    public func get(_ request: GetRequest, _ receiver: any GetReceiver) -> any Transfer {
        let read = FileRead(request, receiver, client, bodies, gate)
        let isRunning = client.after(ms: 0) { [catalog] in
            catalog.address(of: request.key.bytes) { result in
                switch result {
                case .success(let address): read.start(address)
                case .failure(let error): read.end(.failure(error))
                }
            }
        }
        if !isRunning { read.end(.failure(.cancelled)) }
        return read
    }
}

/// A source that can't be used.
public struct HTTPSourceError: Error, Equatable, Sendable, CustomStringConvertible {
    public var description: String
    init(description: String) { self.description = description }
    /// A URL may have a password in it, so it isn't repeated.
    init(_ url: String) {
        description =
            "the URL is none with http or https and without a user"
            + (url.contains("@") ? "; put user and password into a Secret" : "")
    }
}
