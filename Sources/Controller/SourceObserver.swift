import FoundationEssentials
import Kubernetes
import Logging

/// Keeps asking Datasets' sources, apart from the work on claims, as a source may be slow or gone.
public actor SourceObserver {
    public struct Settings: Sendable {
        /// Between two checks of a source that is well.
        public var intervalMs = 300_000
        /// Between two counts of its objects.
        public var countIntervalMs = 3_600_000
        public init() {}
    }

    private let client: Client
    private let probe: any SourceProbe
    private let settings: Settings
    private let logger: Logger
    private let queue = WorkQueue<ObjectKey>()
    private var observations: [ObjectKey: Observation] = [:]
    private var specs: [ObjectKey: Dataset.Spec] = [:]
    private var countedAt: [ObjectKey: ContinuousClock.Instant] = [:]
    private var changed: (@Sendable (ObjectKey) async -> Void)?

    public init(client: Client, probe: any SourceProbe, settings: Settings = Settings(), logger: Logger) {
        self.client = client
        self.probe = probe
        self.settings = settings
        self.logger = logger
    }

    /// What was seen last of this very spec; asks the source if it is another one than before.
    func observation(of dataset: Dataset) async -> Observation? {
        let key = dataset.key
        if specs[key]?.source != dataset.spec.source || specs[key]?.secretRef != dataset.spec.secretRef {
            observations[key] = nil
            countedAt[key] = nil
            await queue.add(key)
        }
        specs[key] = dataset.spec
        return observations[key]
    }

    func forget(_ key: ObjectKey) {
        specs[key] = nil
        observations[key] = nil
        countedAt[key] = nil
    }

    /// Is it known that nothing is below the view's prefix? One listing; false where it can't be told.
    func isMissing(_ view: DatasetView) async -> Bool {
        switch await credentials(view) {
        case .failure: return false
        case .success(let credentials): return await probe.exists(view, credentials: credentials) == false
        }
    }

    /// Asks until the task is cancelled. `changed`: there is something new about a Dataset.
    public func run(workers: Int = 4, changed: @escaping @Sendable (ObjectKey) async -> Void) async {
        self.changed = changed
        await withTaskCancellationHandler {
            await withTaskGroup(of: Void.self) { group in
                for _ in 0..<workers {
                    group.addTask { [self] in
                        while let key = await queue.next() { await queue.done(key, await observe(key)) }
                    }
                }
            }
        } onCancel: {
            Task { await queue.close() }
        }
    }

    /// One look at one source.
    func observe(_ key: ObjectKey) async -> WorkOutcome {
        guard let spec = specs[key], spec.source.problem == nil else { return .done }
        var view = DatasetView(source: Dataset.S3Source(bucket: ""))
        view.origin = spec.source
        view.secret = spec.secretRef.map { SecretReference(name: $0.name, namespace: key.namespace) }
        let found = await credentials(view)
        var observation = Observation(.reachable, generation: nil)
        (observation.objects, observation.bytes, observation.countedAt) = (
            observations[key]?.objects, observations[key]?.bytes, observations[key]?.countedAt
        )
        switch found {
        case .failure(let failure): observation.finding = failure.finding
        case .success(let credentials): observation.finding = await probe.check(view, credentials: credentials)
        }
        await note(key, spec, observation)
        guard observation.finding == .reachable, case .success(let credentials) = found else {
            if case .secretNotReadable = observation.finding { return .again(afterMs: settings.intervalMs) }
            return .failed()
        }
        // The count may take long: readiness was told before.
        if countedAt[key].map({ $0.duration(to: .now) > .milliseconds(settings.countIntervalMs) }) ?? true {
            countedAt[key] = .now
            if let count = await probe.count(view, credentials: credentials) {
                (observation.objects, observation.bytes) = (count.objects, count.bytes)
                observation.countedAt = Timestamp.now()
                await note(key, spec, observation)
            }
        }
        return .again(afterMs: settings.intervalMs)
    }

    private func note(_ key: ObjectKey, _ spec: Dataset.Spec, _ observation: Observation) async {
        // Another spec may have come meanwhile; what was seen of the old one says nothing about it.
        guard specs[key]?.source == spec.source, specs[key]?.secretRef == spec.secretRef else { return }
        guard observations[key] != observation else { return }
        observations[key] = observation
        await changed?(key)
    }

    private struct CredentialsFailure: Error { var finding: Observation.Finding }

    private func credentials(_ view: DatasetView) async -> Result<SourceCredentials?, CredentialsFailure> {
        guard let reference = view.secret else {
            if view.source.anonymous == true { return .success(nil) }
            if view.source.roleARN != nil {
                return .failure(
                    CredentialsFailure(finding: .notChecked("Pods use their own role (\(view.source.roleARN!)).")))
            }
            return .success(nil)
        }
        let name = "\(reference.namespace)/\(reference.name)"
        do throws(APIError) {
            let secret = try await client.get(Kubernetes.Secret.self, reference.name, namespace: reference.namespace)
            var data: [String: String] = [:]
            for (key, value) in secret.data ?? [:] {
                if let bytes = Data(base64Encoded: value) { data[key] = String(decoding: bytes, as: UTF8.self) }
            }
            do throws(Refusal) { return .success(try SourceCredentials(secret: data, named: name)) } catch {
                return .failure(CredentialsFailure(finding: .secretUnusable(reason: error.reason, error.message)))
            }
        } catch {
            if error.isNotFound {
                return .failure(
                    CredentialsFailure(
                        finding: .secretUnusable(
                            reason: "SecretMissing", "Secret \(name) of spec.secretRef isn't there; create it.")))
            }
            if error.isForbidden {
                return .failure(
                    CredentialsFailure(
                        finding: .secretNotReadable("The controller may not read Secret \(name), so it didn't try.")))
            }
            return .failure(CredentialsFailure(finding: .notChecked("Secret \(name) can't be read: \(error.message)")))
        }
    }
}
