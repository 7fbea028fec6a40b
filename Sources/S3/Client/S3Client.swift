import Curl
import Logging
import PrometheusMetrics
import Synchronization
import Threads

/// One bucket on one endpoint: signs, sends, retries, resumes and hedges on the engine's transfer threads.
public final class S3Client: ObjectStore {
    public let configuration: S3Configuration
    let metrics: S3Metrics
    let logger: Logger
    let signer = Signer()
    private let lanes: [Lane]
    private let nextLane = Atomic<Int>(0)
    /// Changes as a redirect says where the bucket really is.
    private let endpoint: Locked<Endpoint>
    /// The server's clock less ours, in seconds.
    private let clockOffset = Atomic<Int64>(0)
    private let budgets: Locked<Budgets>

    struct Budgets {
        var retry: RetryBudget
        var hedge = HedgeBudget()
    }

    public init(_ configuration: S3Configuration, engine: TransferEngine, metrics: Registry, logger: Logger) {
        self.configuration = configuration
        self.metrics = S3Metrics(metrics)
        self.logger = logger
        endpoint = Locked(configuration.endpoint)
        budgets = Locked(Budgets(retry: RetryBudget(now: .now)))
        let share = (configuration.maxConnections + engine.threads.count - 1) / engine.threads.count
        lanes = engine.threads.map { Lane($0, maxActive: share) }
    }

    // MARK: ObjectStore

    @discardableResult
    public func get(_ request: GetRequest, _ receiver: any GetReceiver) -> any Transfer {
        precondition(!request.range.isEmpty, "a GET of no bytes")
        let lane = pickLane()
        let operation = GetOperation(request, receiver, self, lane)
        operation.submit()
        return OperationTransfer(operation)
    }

    public func head(_ key: ObjectKey, _ completion: @escaping @Sendable (Result<ObjectMetadata, S3Error>) -> Void) {
        HeadOperation(key, self, pickLane(), completion).submit()
    }

    public func headWithChecksums(
        _ key: ObjectKey, _ completion: @escaping @Sendable (Result<ObjectMetadata, S3Error>) -> Void
    ) { HeadOperation(key, wantsChecksums: true, self, pickLane(), completion).submit() }

    public func list(_ request: ListRequest, _ completion: @escaping @Sendable (Result<ListPage, S3Error>) -> Void) {
        ListOperation(request, self, pickLane(), completion).submit()
    }

    /// Asks for the bucket itself, for a diagnosis. `.failure` only where there is no answer within `timeoutMs`.
    public func checkBucket(
        timeoutMs: Int = 10_000, _ completion: @escaping @Sendable (Result<BucketCheck, S3Error>) -> Void
    ) {
        BucketOperation(timeoutMs, self, pickLane(), completion).submit()
    }

    // MARK: What operations share

    var currentEndpoint: Endpoint { endpoint.withLock { $0 } }

    /// Seconds since 1970 on the server's clock.
    var serverTime: Int64 { WallClock.now + clockOffset.load(ordering: .relaxed) }

    func moveToRegion(_ region: String) {
        let moved = endpoint.withLock { endpoint in
            defer { endpoint.setRegion(region) }
            return endpoint.region != region
        }
        if moved { logger.notice("bucket \(configuration.bucket) is in region \(region)") }
    }

    func correctClock(_ offset: Int64) {
        clockOffset.store(offset, ordering: .relaxed)
        logger.warning(
            "this machine's clock is \(abs(offset)) s \(offset > 0 ? "behind" : "ahead of") the server's; corrected")
    }

    func withBudgets<Result>(_ body: (inout Budgets) -> Result) -> Result { budgets.withLock(body) }

    /// The one with the least to do, as a large read on one thread should not hold up a small one.
    func pickLane() -> Lane {
        let first = nextLane.add(1, ordering: .relaxed).newValue
        var best = lanes[abs(first % lanes.count)]
        for lane in lanes where lane.load < best.load { best = lane }
        return best
    }
}

final class OperationTransfer: Transfer {
    private let operation: Operation
    init(_ operation: Operation) { self.operation = operation }
    func cancel() { operation.cancel() }
    func raise(to priority: Priority) { operation.raise(to: priority) }
}

extension S3Client {
    /// A first byte later than this is worth a second request: the 95th percentile, but not less than 50 ms.
    var hedgeAfterMs: Int {
        let p95 = metrics.firstByte(.get).quantile(0.95, atLeast: 100) ?? 1
        return max(50, Int(p95 * 1000))
    }
}
