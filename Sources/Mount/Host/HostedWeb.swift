import Curl
import HTTPStore
import Logging
import NodeProtocol
import S3
import Threads

/// Files of a web server.
struct HostedWeb: HostedSource {
    /// Of its own: connections to addresses that the policy refuses must not be there to be shared.
    let transfers = TransferEngine(threads: 2)
    let addresses: AddressPolicy
    let logger: Logger
    /// For the bodies of servers without ranges.
    let spoolDirectory: String

    func serves(_ spec: SessionSpec) -> Bool { spec.web != nil }

    func open(_ spec: SessionSpec, _ credentials: SessionCredentials) throws(NodeError) -> OpenSource {
        let store = try store(spec, credentials)
        return OpenSource(
            store: store, check: { () throws(NodeError) in try check(store, spec) },
            renew: { credentials, triesFirst throws(NodeError) in
                if triesFirst { try check(try self.store(spec, credentials), spec) }
                store.replaceHeaders(try Self.headers(credentials))
            })
    }

    private func store(_ spec: SessionSpec, _ credentials: SessionCredentials) throws(NodeError) -> HTTPStore {
        guard let web = spec.web else { throw .refused(.invalid, "the session has no URL") }
        var source = web.url.map { HTTPSource(url: $0) } ?? HTTPSource(.urls(web.urls))
        source.headers = try Self.headers(credentials)
        source.connection.caPEM = spec.caBundlePEM.map { Array($0.utf8) }
        source.connection.addresses = addresses
        source.connection.proxy = .none
        source.spoolDirectory = spoolDirectory
        do throws(HTTPSourceError) { return try HTTPStore(source, engine: transfers, logger: logger) } catch {
            throw .refused(.invalid, "\(error)")
        }
    }

    private func check(_ store: HTTPStore, _ spec: SessionSpec) throws(NodeError) {
        let answer = Promise<Result<ListPage, S3Error>>()
        store.list(ListRequest(prefix: ObjectKey(""), delimiter: 0x2f, maxKeys: 1)) { answer.fulfil($0) }
        try HostedS3.wait(answer, spec.bucket)
    }

    private static func headers(
        _ credentials: SessionCredentials
    ) throws(NodeError) -> [(name: String, value: String)] {
        switch credentials {
        case .anonymous: return []
        case .headers(let lines):
            var headers: [(name: String, value: String)] = []
            for line in lines {
                let text = line.exposed
                guard let colon = text.firstIndex(of: ":"), colon != text.startIndex else {
                    throw .refused(.invalid, "a header of the volume's secret has no name")
                }
                headers.append((String(text[..<colon]), String(text[text.index(after: colon)...].drop { $0 == " " })))
            }
            return headers
        case .keys, .webIdentity:
            throw .refused(.invalid, "the credentials are for a bucket, and the source is a web server")
        }
    }
}
