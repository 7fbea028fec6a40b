import Logging
import PrometheusMetrics

/// Where a reflector stands: what to do next, and how long to wait before. No I/O, no clock.
struct ReflectorState {
    enum Step: Equatable {
        case list
        case watch(from: String)
    }

    private(set) var step = Step.list
    private var backoff = Backoff(baseMs: 200, mostMs: 30_000)
    private var failedWatches = 0

    mutating func listed(at resourceVersion: String) {
        step = .watch(from: resourceVersion)
        backoff.succeeded()
    }

    /// An event or a bookmark of this version was handled.
    mutating func observed(_ resourceVersion: String) {
        step = .watch(from: resourceVersion)
        backoff.succeeded()
        failedWatches = 0
    }

    /// It is time to compare with the server's own list again: heals whatever a watch may have lost.
    mutating func resync() { step = .list }

    /// The server ended the watch in good order: at once again, from where it was.
    mutating func watchEnded() { failedWatches = 0 }

    /// Answers how many milliseconds to wait.
    mutating func failed(_ error: APIError, using random: inout some RandomNumberGenerator) -> Int {
        if case .watch = step {
            failedWatches += 1
            // A watch that always breaks may be the fault of its version.
            if error.isExpired || error.isInvalid || failedWatches >= 5 {
                step = .list
                failedWatches = 0
            }
        }
        return max(backoff.next(using: &random), (error.retryAfterSeconds ?? 0) * 1000)
    }
}

/// Takes what a reflector sees, in order.
public protocol ReflectorSink<Object>: Sendable {
    associatedtype Object: KubernetesObject
    /// These are all objects there are.
    func replaced(with objects: [Object]) async
    /// The object is new or changed; it may be as it was before.
    func updated(_ object: Object) async
    func removed(_ object: Object) async
}

/// Keeps a sink up to date with the server: lists, then watches; lists again when the version is too old (410), when
/// watches keep breaking, and every `resyncSeconds`.
public struct Reflector<Sink: ReflectorSink>: Sendable {
    public typealias Object = Sink.Object

    let client: Client
    let sink: Sink
    let namespace: String?
    let labelSelector: String?
    let resyncSeconds: Int
    let logger: Logger

    public init(
        client: Client, sink: Sink, namespace: String? = nil, labelSelector: String? = nil, resyncSeconds: Int = 900,
        logger: Logger
    ) {
        self.client = client
        self.sink = sink
        self.namespace = namespace
        self.labelSelector = labelSelector
        self.resyncSeconds = resyncSeconds
        self.logger = logger
    }

    /// Runs until its task is cancelled.
    public func run() async {
        var state = ReflectorState()
        var random = SystemRandomNumberGenerator()
        var listed = ContinuousClock.now
        while !Task.isCancelled {
            do throws(APIError) {
                switch state.step {
                case .list:
                    let list = try await client.list(Object.self, namespace: namespace, labelSelector: labelSelector)
                    await sink.replaced(with: list.items)
                    state.listed(at: list.resourceVersion)
                    listed = .now
                case .watch(let version):
                    let age = Int(listed.duration(to: .now).components.seconds)
                    guard age < resyncSeconds else {
                        state.resync()
                        continue
                    }
                    let timeout = min(Int.random(in: 300...600), resyncSeconds - age)
                    try await client.watch(
                        Object.self, namespace: namespace, labelSelector: labelSelector, from: version,
                        timeoutSeconds: timeout
                    ) { event throws(APIError) in
                        switch event {
                        case .added(let object), .modified(let object): await sink.updated(object)
                        case .deleted(let object): await sink.removed(object)
                        case .bookmark: break
                        }
                        if let version = event.resourceVersion { state.observed(version) }
                    }
                    state.watchEnded()
                    try? await Task.sleep(for: .milliseconds(Int.random(in: 5...50)))
                }
            } catch {
                if Task.isCancelled { return }
                let delay = state.failed(error, using: &random)
                logger.log(
                    level: error.isExpired ? .debug : .warning, "reflector will try again",
                    metadata: [
                        "kind": "\(Object.resource.plural)", "error": "\(error)", "delayMs": "\(delay)",
                    ])
                try? await Task.sleep(for: .milliseconds(delay))
            }
        }
    }
}
