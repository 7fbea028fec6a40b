import S3
import Threads

/// A snapshot as an object store: LIST and HEAD are answered from the manifest without a request, and each GET is one of
/// the very version that the manifest names, so that what was replaced or deleted since is `.changed`, or, where the
/// bucket keeps versions, still there.
public final class ManifestStore: ObjectStore, @unchecked Sendable {
    public typealias Load = @Sendable (@escaping @Sendable (Result<Manifest, S3Error>) -> Void) -> Void
    private typealias Waiter = @Sendable (Result<Manifest, S3Error>) -> Void

    private let store: any ObjectStore
    private let load: Load
    private let queue = CompletionQueue("manifest")
    private let lock = Lock()
    // Under the lock.
    private var manifest: Manifest?
    private var waiting: [Waiter] = []

    /// - Parameters:
    ///   - store: where the objects are.
    ///   - load: fetches the manifest; called with the first request, and again after it failed.
    public init(store: any ObjectStore, load: @escaping Load) {
        self.store = store
        self.load = load
    }

    public convenience init(_ manifest: Manifest, store: any ObjectStore) {
        self.init(store: store) { $0(.success(manifest)) }
        self.manifest = manifest
    }

    /// Fetches the manifest now.
    public func prepare(_ completion: @escaping @Sendable (Result<ManifestInfo, S3Error>) -> Void) {
        withManifest { completion($0.map(\.info)) }
    }

    private func withManifest(_ body: @escaping Waiter) {
        let (known, isFirst) = lock.withLock { () -> (Manifest?, Bool) in
            if let manifest { return (manifest, false) }
            waiting.append(body)
            return (nil, waiting.count == 1)
        }
        if let known { return body(.success(known)) }
        guard isFirst else { return }
        load { [self] result in
            let waiters = lock.withLock {
                if case .success(let manifest) = result { self.manifest = manifest }
                defer { waiting = [] }
                return waiting
            }
            for waiter in waiters { waiter(result) }
        }
    }

    // MARK: ObjectStore

    public func list(_ request: ListRequest, _ completion: @escaping @Sendable (Result<ListPage, S3Error>) -> Void) {
        // Never on the caller's own stack: it may ask for the next page from within.
        queue.perform { [self] in
            withManifest { result in
                completion(Self.answer(result) { manifest throws(ManifestError) in try manifest.list(request) })
            }
        }
    }

    public func head(_ key: ObjectKey, _ completion: @escaping @Sendable (Result<ObjectMetadata, S3Error>) -> Void) {
        queue.perform { [self] in
            withManifest { result in
                let entry = Self.answer(result) { manifest throws(ManifestError) in try manifest.entry(key) }
                completion(entry.flatMap { $0.map { .success(ObjectMetadata($0)) } ?? .failure(.noSuchKey) })
            }
        }
    }

    @discardableResult
    public func get(_ request: GetRequest, _ receiver: any GetReceiver) -> any Transfer {
        let transfer = PinnedTransfer(receiver)
        if let manifest = lock.withLock({ manifest }) {
            start(request, .success(manifest), transfer)
        } else {
            queue.perform { [self] in withManifest { self.start(request, $0, transfer) } }
        }
        return transfer
    }

    private func start(_ request: GetRequest, _ manifest: Result<Manifest, S3Error>, _ transfer: PinnedTransfer) {
        switch Self.answer(manifest, { manifest throws(ManifestError) in try manifest.entry(request.key) }) {
        case .failure(let error): fail(transfer, error)
        case .success(nil): fail(transfer, .noSuchKey)
        case .success(let entry?):
            guard request.etag.map({ $0 == entry.tag }) ?? true, request.size.map({ $0 == entry.size }) ?? true else {
                return fail(transfer, .changed)
            }
            var pinned = request
            pinned.etag = entry.etag.isEmpty ? nil : entry.etag
            pinned.versionID = entry.versionID
            pinned.size = entry.size
            transfer.start(tag: entry.tag) { store.get(pinned, transfer) }
        }
    }

    /// Later, as a receiver doesn't expect the end before `get` has returned.
    private func fail(_ transfer: PinnedTransfer, _ error: S3Error) {
        queue.perform { transfer.refuse(error) }
    }

    private static func answer<Value>(
        _ manifest: Result<Manifest, S3Error>, _ body: (Manifest) throws(ManifestError) -> Value
    ) -> Result<Value, S3Error> {
        manifest.flatMap { manifest in
            do throws(ManifestError) { return .success(try body(manifest)) } catch {
                return .failure(.badAnswer("the revision's manifest: \(error)"))
            }
        }
    }
}

extension ObjectMetadata {
    fileprivate init(_ entry: Manifest.Entry) {
        self.init(
            size: entry.size, etag: entry.tag, modified: entry.modified, versionID: entry.versionID,
            isReadable: entry.isReadable)
    }
}

/// One GET of a pinned version on its way.
private final class PinnedTransfer: Transfer, GetReceiver, @unchecked Sendable {
    private let receiver: any GetReceiver
    private let lock = Lock()
    // Under the lock.
    private var transfer: (any Transfer)?
    private var isCancelled = false
    private var isFinished = false
    private var raised: Priority?
    /// Set before the transfer starts.
    private var tag = ""

    init(_ receiver: any GetReceiver) { self.receiver = receiver }

    func start(tag: String, _ begin: () -> any Transfer) {
        self.tag = tag
        let started = begin()
        let (isCancelled, raised) = lock.withLock {
            if !isFinished { transfer = started }
            return (self.isCancelled, self.raised)
        }
        if isCancelled { started.cancel() } else if let raised { started.raise(to: raised) }
    }

    func cancel() {
        let started = lock.withLock {
            isCancelled = true
            return transfer
        }
        started?.cancel()
    }

    func raise(to priority: Priority) {
        let started = lock.withLock {
            raised = min(raised ?? priority, priority)
            return transfer
        }
        started?.raise(to: priority)
    }

    /// No request was made.
    func refuse(_ error: S3Error) { receiver.finished(.failure(error)) }

    func received(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) { receiver.received(bytes, at: offset) }

    func finished(_ result: Result<ObjectMetadata, S3Error>) {
        // The transfer holds its receiver, which is this.
        lock.withLock {
            isFinished = true
            transfer = nil
        }
        switch result {
        // The manifest has it, so it was there: that it is gone is a change.
        case .failure(.noSuchKey): receiver.finished(.failure(.changed))
        case .failure: receiver.finished(result)
        case .success(var metadata):
            metadata.etag = tag.isEmpty ? metadata.etag : tag
            receiver.finished(.success(metadata))
        }
    }
}
