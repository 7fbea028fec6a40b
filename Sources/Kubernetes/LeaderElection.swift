import Logging
import Threads

/// Decides on a Lease as the other replicas do: whoever holds it must be seen to renew it. Whether it is stale is judged
/// by how long *we* have seen it unchanged, so clocks need not agree.
struct LeaseElection {
    enum Action: Equatable {
        case create
        case take(transitions: Int)
        case renew, wait
    }

    let identity: String
    let leaseMs: Int
    private var seen: Lease.Spec?
    private var changedAt = Instant(nanoseconds: 0)
    private(set) var renewedAt: Instant?

    init(identity: String, leaseMs: Int) {
        self.identity = identity
        self.leaseMs = leaseMs
    }

    mutating func decide(_ lease: Lease.Spec?, now: Instant) -> Action {
        guard let lease else { return .create }
        if lease != seen {
            seen = lease
            changedAt = now
        }
        if lease.holderIdentity == identity { return .renew }
        let isFree = (lease.holderIdentity ?? "").isEmpty
        let duration = (lease.leaseDurationSeconds ?? 0) > 0 ? lease.leaseDurationSeconds! * 1000 : leaseMs
        let isStale = now >= changedAt.advanced(byMs: duration)
        return isFree || isStale ? .take(transitions: (lease.leaseTransitions ?? 0) + 1) : .wait
    }

    /// The server took our write, which was sent at `now`.
    mutating func wrote(now: Instant) { renewedAt = now }

    /// False as soon as another might have taken it.
    func isLeader(now: Instant, renewDeadlineMs: Int) -> Bool {
        guard let renewedAt else { return false }
        return now < renewedAt.advanced(byMs: renewDeadlineMs)
    }

    /// Another was seen to hold it.
    mutating func lost() { renewedAt = nil }
}

/// Leader election by a Lease: `run` waits until this replica leads, runs the body and cancels it as soon as the
/// leadership can't be proved any more.
public struct LeaderElection: Sendable {
    public struct Settings: Sendable {
        public var leaseMs = 15_000
        /// Leading ends when no renewal succeeded for so long.
        public var renewDeadlineMs = 10_000
        public var retryMs = 2_000
        public init() {}
    }

    let client: Client
    let name: String
    let namespace: String
    let identity: String
    let settings: Settings
    let logger: Logger

    public init(
        client: Client, name: String, namespace: String, identity: String, settings: Settings = Settings(),
        logger: Logger
    ) {
        self.client = client
        self.name = name
        self.namespace = namespace
        self.identity = identity
        self.settings = settings
        self.logger = logger
    }

    /// Returns true if the leadership was lost, false if the body ended by itself or the task was cancelled. The Lease is
    /// given up at the end, so that the next one needn't wait.
    ///
    /// `whenLost` is called at once: the body may take a while to end, and others lead meanwhile.
    public func run(
        whenLost: @escaping @Sendable () -> Void = {}, _ body: @escaping @Sendable () async -> Void
    ) async -> Bool {
        var election = LeaseElection(identity: identity, leaseMs: settings.leaseMs)
        while !Task.isCancelled {
            if await attempt(&election) { break }
            await pause()
        }
        if Task.isCancelled { return false }
        logger.info("leading", metadata: ["lease": "\(namespace)/\(name)", "identity": "\(identity)"])
        let lost = await withTaskGroup(of: Bool.self) { group in
            group.addTask {
                await body()
                return false
            }
            group.addTask { [election] in
                var election = election
                while !Task.isCancelled {
                    await pause()
                    if Task.isCancelled { return false }
                    _ = await attempt(&election)
                    if !election.isLeader(now: .now, renewDeadlineMs: settings.renewDeadlineMs) {
                        logger.error("lost the leadership", metadata: ["lease": "\(namespace)/\(name)"])
                        whenLost()
                        return true
                    }
                }
                return false
            }
            let first = await group.next() ?? false
            group.cancelAll()
            return first
        }
        if !lost { await Task { await release() }.value }
        return lost
    }

    /// Takes the Lease from whoever has it, so that nobody leads for so long, and returns once the one that led has seen it.
    /// Nothing happens where there is no Lease, as then nobody ever led.
    public func depose(forSeconds seconds: Int) async throws(APIError) {
        var attempts = 0
        while true {
            attempts += 1
            do throws(APIError) {
                var lease = try await client.get(Lease.self, name, namespace: namespace)
                let wasHeld = !(lease.spec?.holderIdentity ?? "").isEmpty
                lease.spec = spec(nil, transitions: (lease.spec?.leaseTransitions ?? 0) + 1)
                lease.spec?.leaseDurationSeconds = seconds
                try await client.replace(lease)
                // It looks every few seconds, and stops by itself where it can't.
                if wasHeld { try? await Task.sleep(for: .milliseconds(settings.leaseMs)) }
                return
            } catch {
                if error.isNotFound { return }
                // It was renewed at the same moment.
                guard error.isConflict, attempts < 20 else { throw error }
                try? await Task.sleep(for: .milliseconds(Int.random(in: 1...100)))
            }
        }
    }

    private func pause() async {
        let jittered = Int.random(in: settings.retryMs * 3 / 4...settings.retryMs * 5 / 4)
        try? await Task.sleep(for: .milliseconds(jittered))
    }

    /// One look at the Lease and one write where it may be ours. True where we hold it now.
    private func attempt(_ election: inout LeaseElection) async -> Bool {
        do throws(APIError) {
            var lease: Lease?
            do throws(APIError) { lease = try await client.get(Lease.self, name, namespace: namespace) } catch {
                guard error.isNotFound else { throw error }
            }
            let action = election.decide(lease?.spec, now: .now)
            let started = Instant.now
            switch action {
            case .wait:
                election.lost()
                return false
            case .create:
                try await client.create(
                    Lease(metadata: ObjectMeta(name: name, namespace: namespace), spec: spec(nil, transitions: 0)))
            case .take(let transitions):
                lease!.spec = spec(nil, transitions: transitions)
                try await client.replace(lease!)
            case .renew:
                lease!.spec = spec(lease!.spec, transitions: lease!.spec?.leaseTransitions ?? 0)
                try await client.replace(lease!)
            }
            election.wrote(now: started)
            return true
        } catch {
            // A conflict means that another was faster: look again.
            let level: Logger.Level = error.isConflict || error.isAlreadyExists ? .debug : .warning
            logger.log(level: level, "lease not written", metadata: ["error": "\(error)"])
            return false
        }
    }

    private func spec(_ old: Lease.Spec?, transitions: Int) -> Lease.Spec {
        var spec = Lease.Spec()
        let now = Timestamp.nowMicro()
        spec.holderIdentity = identity
        spec.leaseDurationSeconds = settings.leaseMs / 1000
        spec.acquireTime = old?.acquireTime ?? now
        spec.renewTime = now
        spec.leaseTransitions = transitions
        return spec
    }

    private func release() async {
        guard var lease = try? await client.get(Lease.self, name, namespace: namespace),
            lease.spec?.holderIdentity == identity
        else { return }
        lease.spec?.holderIdentity = ""
        lease.spec?.leaseDurationSeconds = 1
        _ = try? await client.replace(lease)
    }
}
