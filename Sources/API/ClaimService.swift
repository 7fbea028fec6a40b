import Controller
import Kubernetes
import Logging
import Threads

/// Makes claims for callers, with what belongs to them. What a caller may not do themselves isn't done for them.
final class ClaimService: Sendable {
    let client: Client
    let authorizer: Authorizer
    let settings: APISettings
    let copies: Copies
    let background: Background
    private let sizes: Sizes
    private let metrics: APIMetrics
    private let logger: Logger

    init(
        client: Client, authorizer: Authorizer, sizes: Sizes, settings: APISettings, metrics: APIMetrics,
        logger: Logger
    ) {
        self.client = client
        self.authorizer = authorizer
        self.sizes = sizes
        self.settings = settings
        self.metrics = metrics
        self.logger = logger
        copies = Copies(client: client)
        background = Background(most: settings.mostBackground)
    }

    /// Makes a claim; returns when all that belongs to it is there. A copy goes on by its Job.
    @discardableResult
    func create(_ order: ClaimOrder, for caller: Caller) async throws(Problem) -> ClaimPlan.Kind {
        let plan = try await plan(order, for: caller)
        background.forget(order.key)
        // A caller who hangs up leaves nothing half-made.
        let work = Task { () async -> Result<Void, Problem> in
            do throws(Problem) { return .success(try await self.carryOut(plan)) } catch { return .failure(error) }
        }
        try await work.value.get()
        return plan.kind
    }

    /// As `create`, but returns once it is clear that the caller may.
    func createLater(_ order: ClaimOrder, for caller: Caller) async throws(Problem) {
        let plan = try await plan(order, for: caller)
        try background.start(order.key) { () async throws(Problem) in try await self.carryOut(plan) }
    }

    func finishBackground() async { await background.finish() }

    // MARK: May they, and can it be?

    private func plan(_ order: ClaimOrder, for caller: Caller) async throws(Problem) -> ClaimPlan {
        let namespace = order.key.namespace
        try await authorizer.require(caller, "create", PersistentVolumeClaim.self, in: namespace)
        if let name = order.clone { return try await clone(name, order, for: caller) }
        let plan = try ClaimPlan(
            order, storageClass: try await storageClass(order.storageClass ?? ""), driver: settings.driver)
        switch plan.kind {
        case .dataset, .clone: break
        case .zeroCopy: try await authorizer.require(caller, "create", Dataset.self, in: namespace)
        case .copy: try await copies.authorize(caller, "create", in: namespace, authorizer)
        }
        if order.place?.keys != nil { try await authorizer.require(caller, "create", Secret.self, in: namespace) }
        if let name = order.secretName {
            // Whoever can't read keys themselves doesn't get to use them by way of us.
            try await authorizer.require(caller, "get", Secret.self, in: namespace, name: name)
        }
        if let place = order.place { try await sizes.check(place) }
        return plan
    }

    private func clone(_ name: String, _ order: ClaimOrder, for caller: Caller) async throws(Problem) -> ClaimPlan {
        let key = ObjectKey(namespace: order.key.namespace, name: name)
        // Whoever can't read a claim doesn't get its content by way of us.
        try await authorizer.require(caller, "get", PersistentVolumeClaim.self, in: key.namespace, name: name)
        let status = try await look(at: key)
        guard let original = status.claim else { throw Problem(404, "NotFound", "there is no claim \(key) to clone") }
        let name = order.storageClass ?? original.spec.storageClassName ?? ""
        return try ClaimPlan(
            order, of: original, status, storageClass: try await storageClass(name), driver: settings.driver)
    }

    private func storageClass(_ name: String) async throws(Problem) -> StorageClass {
        let found = try await finding { () async throws(APIError) in try await client.get(StorageClass.self, name) }
        guard let found else { throw Problem(422, "NoSuchClass", "there is no StorageClass \(name.prefix(253))") }
        return found
    }

    // MARK: Doing it

    private func carryOut(_ plan: ClaimPlan) async throws(Problem) {
        // Says whose half-made claim it is, also if the answer to its creation was lost.
        let mark = String(UInt64.random(in: 0 ... .max), radix: 16)
        var uid: String?
        do throws(Problem) {
            let claim = try await create(plan.claim(try await size(plan), mark: mark, settings: settings))
            uid = claim.metadata.uid
            var secretName = plan.order.secretName
            if let secret = plan.secret(of: claim, settings: settings) {
                secretName = try await create(secret).key.name
            }
            switch plan.kind {
            case .dataset, .clone: break
            case .zeroCopy:
                _ = try await create(plan.dataset(of: claim, secretName: secretName, settings: settings))
            case .copy: _ = try await create(copies.make(plan, claim, secretName, settings))
            }
            // From here on the provisioner may look at it.
            let patch: JSON = ["metadata": ["annotations": [Names.incomplete: .null]]]
            _ = try await asking { () async throws(APIError) in
                try await client.patch(
                    PersistentVolumeClaim.self, claim.key.name, namespace: claim.key.namespace, merge: patch)
            }
            metrics.made.add()
        } catch {
            metrics.failed.add()
            await takeBack(plan.order.key, uid: uid, mark: mark)
            throw error
        }
    }

    /// Deletes a claim that was made in vain; its Secret, Dataset or import go with it, as it owns them. One that can't
    /// be deleted now is left to the sweep.
    private func takeBack(_ key: ObjectKey, uid: String?, mark: String) async {
        var backoff = Backoff(baseMs: 100, mostMs: 2_000)
        for _ in 1...5 {
            do throws(APIError) {
                let claim = try await client.get(PersistentVolumeClaim.self, key.name, namespace: key.namespace)
                guard claim.metadata.uid == uid || claim.metadata.annotations?[Names.incomplete] == mark else { return }
                try await client.delete(
                    PersistentVolumeClaim.self, key.name, namespace: key.namespace, uid: claim.metadata.uid)
                return
            } catch {
                if error.isNotFound || error.isConflict { return }
                logger.warning(
                    "a half-made claim can't be deleted", metadata: ["claim": "\(key)", "error": "\(error)"])
                let waitMs = backoff.next()
                try? await Task.sleep(for: .milliseconds(waitMs))
            }
        }
    }

    /// A copy's claim needs the size of all there is; elsewhere it is only told, if it is known soon.
    private func size(_ plan: ClaimPlan) async throws(Problem) -> Sizes.Size? {
        guard let place = plan.order.place, plan.order.secretName == nil else {
            if plan.kind == .copy, plan.order.capacity == nil {
                throw .badField("capacity is needed with secretRef, as the objects aren't counted with others' keys")
            }
            return nil
        }
        switch plan.kind {
        case .copy: return try await sizes.count(place, isDirectory: false)
        case .zeroCopy, .dataset, .clone:
            do throws(Problem) { return try await sizes.count(place, isDirectory: true, seconds: 5) } catch {
                if error.reason == "SourceSlow" || error.reason == "Busy" { return nil }
                throw error
            }
        }
    }

    private func create<T: KubernetesObject>(_ object: T) async throws(Problem) -> T {
        do throws(APIError) { return try await client.create(object) } catch {
            if error.isAlreadyExists {
                throw .conflict(
                    "AlreadyExists",
                    "\(T.resource.kind) \(object.key) is there already; delete it or choose another name")
            }
            throw .kubernetes(error)
        }
    }
}
