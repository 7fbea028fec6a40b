import Copy
import Curl
import HTTPStore
import Logging
import S3
import Threads

extension CopyCommand {
    /// A web server as a store. Keys of a Secret are the user and password of HTTP's basic authentication.
    func openWeb(
        _ urls: [String], _ credentials: (any CredentialsSource)?, _ directory: DirectoryCredentials?, _ logger: Logger
    ) throws -> any ObjectStore {
        var source = HTTPSource(urls.count == 1 && urls[0].hasSuffix("/") ? .index(urls[0]) : .urls(urls))
        source.headers = try headersFile.map(HeaderFiles.read) ?? []
        if let login = try login(credentials, directory) {
            source.authenticate(user: login.user, password: login.password)
        }
        let addresses = try addresses()
        try connection.apply(to: &source.connection)
        source.connection.addresses = addresses
        source.maxConnections = parallel
        // Files of servers without ranges are kept where there is room for them in any case.
        source.spoolDirectory = Destination.isDirectory(paths.last!) ? paths.last! : "/tmp"
        do {
            return try HTTPStore(source, engine: TransferEngine(), logger: logger)
        } catch {
            throw Failure("cannot copy \(CopySource.shown(urls[0]))", because: "\(error)", fix: "correct the URL")
        }
    }

    private func login(
        _ credentials: (any CredentialsSource)?, _ directory: DirectoryCredentials?
    ) throws -> (user: String, password: String)? {
        if let user = directory?.value(["username"]) {
            return (user, directory?.value(["password"]) ?? "")
        }
        guard let credentials else { return nil }
        let promise = Promise<Result<Credentials?, S3Error>>()
        credentials.credentials { promise.fulfil($0) }
        guard case .success(let keys?) = promise.wait(until: Instant.now.advanced(byMs: 30_000)) else { return nil }
        return (keys.accessKeyID, keys.secretAccessKey.reveal())
    }
}

extension ConnectionArguments {
    /// Certificates and proxy, for a server that isn't S3.
    func apply(to options: inout ConnectionOptions) throws {
        do {
            let settings = try AWSSettings(Environment.process, profile: profile)
            try checkCABundle(settings)
            apply(settings, to: &options)
        } catch let failure as Failure {
            throw failure
        } catch {
            throw Failure("cannot read the AWS configuration", because: "\(error)", fix: "correct the file")
        }
    }
}
