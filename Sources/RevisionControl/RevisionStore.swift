import Controller
import Curl
import Logging
import Manifests
import PrometheusMetrics
import S3
import Threads

/// Where revisions are made and kept; the real one is in S3.
public protocol RevisionStore: Sendable {
    /// Lists the source and keeps the manifest under this ID. Nil: it would be the same as `unlessDigest`, so it wasn't.
    func build(
        _ job: RevisionJob, id: String, created: Int64, unlessDigest: String?
    ) async throws(RevisionFailure) -> ManifestInfo?
    /// Deletes a revision's manifest; that there is none is success.
    func remove(id: String, _ job: RevisionJob) async throws(RevisionFailure)
    /// Has the pointer lead to this revision; nil: there is none any more.
    func point(to id: String?, _ job: RevisionJob) async throws(RevisionFailure)
    /// IDs of all manifests that are there for the Dataset.
    func ids(_ job: RevisionJob) async throws(RevisionFailure) -> [String]
}

/// A Dataset's source and store, with the keys to both.
public struct RevisionJob: Sendable {
    public var owner: String
    public var source: Dataset.S3Source
    public var store: Dataset.Store
    /// Nil: a public bucket.
    public var sourceCredentials: SourceCredentials?
    public var storeCredentials: SourceCredentials

    public func place(of id: String) -> RevisionKey? {
        RevisionKey(prefix: store.prefix ?? "", owner: owner, name: "\(id).manifest")
    }

    /// Of the object that says which revision is the newest.
    public var pointer: RevisionKey? {
        RevisionKey(prefix: store.prefix ?? "", owner: owner, name: Dataset.RevisionRecord.newest)
    }

    public var prefix: ObjectKey { ObjectKey(Dataset.S3Source.directory(source.prefix, nil)) }
}

/// Why a revision can't be made or removed, in one sentence for the status.
public struct RevisionFailure: Error, Equatable, Sendable, CustomStringConvertible {
    public var description: String
    public init(_ description: String) { self.description = description }
}

/// Revisions in S3.
public final class S3RevisionStore: RevisionStore {
    private let engine: TransferEngine
    private let metrics: Registry
    private let logger: Logger

    public init(engine: TransferEngine, metrics: Registry, logger: Logger) {
        self.engine = engine
        self.metrics = metrics
        self.logger = logger
    }

    public func build(
        _ job: RevisionJob, id: String, created: Int64, unlessDigest: String?
    ) async throws(RevisionFailure) -> ManifestInfo? {
        guard let key = job.place(of: id) else { throw RevisionFailure("the revision's key can't be made") }
        let client = try self.client(job.source, job.sourceCredentials, "source")
        let target = try self.client(storeSource(job), job.storeCredentials, "store")
        let snapshot = Snapshot(
            bucket: job.source.bucket, prefix: job.prefix, created: created,
            source: Snapshot.pages(client, prefix: job.prefix))
        let work: @Sendable () -> Result<ManifestInfo?, RevisionFailure> = {
            let upload = ObjectUpload(target, key.objectKey)
            do {
                let info = try snapshot.write { bytes throws in
                    do throws(S3Error) { try upload.write(bytes) } catch { throw WriteFailure(error: error) }
                }
                if info.digest == unlessDigest {
                    upload.abort()
                    return .success(nil)
                }
                do throws(S3Error) { try upload.finish() } catch { throw WriteFailure(error: error) }
                return .success(info)
            } catch {
                upload.abort()
                return .failure(Self.failure(error, job))
            }
        }
        // It blocks, for minutes maybe: a thread of its own, and not one of the pool.
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                _ = Thread("revision") { continuation.resume(returning: work()) }
            }
        } onCancel: {
            snapshot.stop()
        }
        return try result.get()
    }

    private struct WriteFailure: Error { var error: S3Error }

    private static func failure(_ error: any Error, _ job: RevisionJob) -> RevisionFailure {
        switch error {
        case let error as S3Error: RevisionFailure("the source, bucket \(job.source.bucket), can't be listed: \(error)")
        case let failure as WriteFailure:
            RevisionFailure("the manifest can't be written to bucket \(job.store.bucket): \(failure.error)")
        default: RevisionFailure("\(error)")
        }
    }

    public func remove(id: String, _ job: RevisionJob) async throws(RevisionFailure) {
        guard let key = job.place(of: id) else { return }
        let client = try self.client(storeSource(job), job.storeCredentials, "store")
        let result = await withCheckedContinuation { continuation in
            client.delete(key) { continuation.resume(returning: $0) }
        }
        if case .failure(let error) = result {
            throw RevisionFailure("the manifest \(id) can't be deleted from bucket \(job.store.bucket): \(error)")
        }
    }

    public func point(to id: String?, _ job: RevisionJob) async throws(RevisionFailure) {
        guard let key = job.pointer else { return }
        let client = try self.client(storeSource(job), job.storeCredentials, "store")
        let result = await withCheckedContinuation { continuation in
            if let id {
                client.replace(key, RevisionPointer.bytes(of: id)) { continuation.resume(returning: $0) }
            } else {
                client.delete(key) { continuation.resume(returning: $0) }
            }
        }
        if case .failure(let error) = result {
            throw RevisionFailure("\(key.objectKey) can't be written to bucket \(job.store.bucket): \(error)")
        }
    }

    public func ids(_ job: RevisionJob) async throws(RevisionFailure) -> [String] {
        guard let key = job.place(of: "x") else { return [] }
        let prefix = String(key.objectKey.description.dropLast("x.manifest".count))
        let client = try self.client(storeSource(job), job.storeCredentials, "store")
        var ids: [String] = []
        var token: String?
        repeat {
            let request = ListRequest(prefix: ObjectKey(prefix), continuationToken: token)
            let result = await withCheckedContinuation { continuation in
                client.list(request) { continuation.resume(returning: $0) }
            }
            switch result {
            case .failure(let error):
                throw RevisionFailure("bucket \(job.store.bucket) can't be listed: \(error)")
            case .success(let page):
                for object in page.objects {
                    let name = String(decoding: page.bytes[object.key], as: UTF8.self).dropFirst(prefix.utf8.count)
                    if name.hasSuffix(".manifest") { ids.append(String(name.dropLast(".manifest".count))) }
                }
                token = page.nextToken
            }
        } while token != nil
        return ids
    }

    // MARK: Clients

    private func storeSource(_ job: RevisionJob) -> Dataset.S3Source {
        var source = Dataset.S3Source(bucket: job.store.bucket)
        // Beside the data unless it says otherwise.
        if job.store.endpoint == nil { source.caBundle = job.source.caBundle }
        source.endpoint = job.store.endpoint ?? job.source.endpoint
        source.region = job.store.region ?? job.source.region
        source.pathStyle = job.store.endpoint == nil ? job.source.pathStyle : job.store.pathStyle
        return source
    }

    private func client(
        _ source: Dataset.S3Source, _ credentials: SourceCredentials?, _ what: String
    ) throws(RevisionFailure) -> S3Client {
        let region = source.region ?? credentials?.region ?? "us-east-1"
        let addressing: Endpoint.Addressing? = source.pathStyle.map { $0 ? .path : .virtualHost }
        let endpoint: Endpoint
        do throws(EndpointError) {
            if let url = source.endpoint ?? credentials?.endpoint {
                endpoint = try Endpoint(url: url, region: region, addressing: addressing)
            } else {
                endpoint = .aws(region: region, addressing: addressing)
            }
        } catch {
            throw RevisionFailure("the \(what)'s endpoint can't be used: \(error)")
        }
        let keys = credentials.map {
            Credentials(
                accessKeyID: $0.accessKeyID, secretAccessKey: S3.Secret($0.secretAccessKey),
                sessionToken: $0.sessionToken.map { S3.Secret($0) })
        }
        var configuration = S3Configuration(
            bucket: source.bucket, endpoint: endpoint,
            credentials: StaticCredentials(keys, origin: "the \(what)'s Secret"))
        configuration.requesterPays = source.requesterPays ?? false
        configuration.connection.caPEM = source.caBundle.map { Array($0.utf8) }
        return S3Client(configuration, engine: engine, metrics: metrics, logger: logger)
    }
}
