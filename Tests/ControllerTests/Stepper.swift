import FoundationEssentials
import Kubernetes
import KubernetesTestSupport
import Logging
import PrometheusMetrics
import Synchronization
import Testing
import Threads

@testable import Controller

let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// A controller that is run by hand: events are delivered and work is done one at a time, in one task, so that a test is
/// the same every time. It can be killed at any API call.
final class Stepper {
    let server: APIServer
    let reconciler: Reconciler
    let registry = Registry()
    private(set) var queue: [Work] = []
    private var seen: [Resource: Int] = [:]
    private let life = Life()
    private let pace = Pace()
    /// The cluster's controllers act, and watches bring all of it, before a call's answer is there.
    var areWatchesFaster = false
    static let kinds: [Resource] = [
        PersistentVolumeClaim.resource, PersistentVolume.resource, StorageClass.resource, Namespace.resource,
        Dataset.resource,
    ]

    /// What happens between a call and its answer.
    private final class Pace: @unchecked Sendable {
        var beforeTheAnswer: () -> Void = {}
    }

    /// A fresh process: it lists everything and looks at everything.
    init(_ server: APIServer, sources: ((Client) -> SourceObserver)? = nil, allowsEviction: Bool = true) {
        self.server = server
        var transport = DirectTransport(server)
        transport.hook = { [life, pace] _, isDone throws(APIError) in
            try life.check(isDone: isDone)
            if isDone { pace.beforeTheAnswer() }
        }
        let client = Client(transport: transport, fieldManager: Names.controller)
        let ids = VolumeIDs(key: Array("a key for tests only".utf8))
        reconciler = Reconciler(
            client: client, tables: Tables(), provisioning: Provisioning(ids: ids), sources: sources?(client),
            allowsEviction: allowsEviction, metrics: registry, logger: quiet)
        let revision = server.revision
        for kind in Self.kinds {
            for object in server.objects(kind) { _ = apply(kind, object, isDeletion: false) }
            seen[kind] = revision
        }
        add(Set(reconciler.tables.withLock(\.allWork)))
        pace.beforeTheAnswer = { [weak self] in
            guard let self, areWatchesFaster else { return }
            while server.step() {}
            for kind in Self.kinds { deliver(kind) }
        }
    }

    var isDead: Bool { life.isDead }
    func dieAt(call: Int, after: Bool) { life.dieAt(call: call, after: after) }

    private func add(_ works: Set<Work>) {
        // Sets have another order in every process.
        for work in works.sorted(by: { "\($0)" < "\($1)" }) where !queue.contains(work) { queue.append(work) }
    }

    private func apply(_ kind: Resource, _ object: JSON, isDeletion: Bool) -> Set<Work> {
        func decoded<T: KubernetesObject>(_: T.Type) -> T {
            try! JSONDecoder().decode(T.self, from: Data(object.bytes))
        }
        return reconciler.tables.withLock { tables in
            switch kind.plural {
            case "persistentvolumeclaims":
                let claim = decoded(PersistentVolumeClaim.self)
                return isDeletion ? tables.removed(claim) : tables.updated(claim)
            case "persistentvolumes":
                let volume = decoded(PersistentVolume.self)
                return isDeletion ? tables.removed(volume) : tables.updated(volume)
            case "storageclasses":
                let storageClass = decoded(StorageClass.self)
                return isDeletion ? tables.removed(storageClass) : tables.updated(storageClass)
            case "namespaces":
                let namespace = decoded(Namespace.self)
                return isDeletion ? tables.removed(namespace) : tables.updated(namespace)
            default:
                let dataset = decoded(Dataset.self)
                return isDeletion ? tables.removed(dataset) : tables.updated(dataset)
            }
        }
    }

    /// Delivers the next events of one kind. True where there were any.
    @discardableResult
    func deliver(_ kind: Resource, count: Int = .max) -> Bool {
        let events = server.history(kind, after: seen[kind]!, count: count)
        for event in events {
            add(apply(kind, event.object, isDeletion: event.isDeletion))
            seen[kind] = event.revision
        }
        return !events.isEmpty
    }

    /// Does one piece of work; failed work comes again.
    func work(choice: Int = 0) async {
        guard !queue.isEmpty else { return }
        let work = queue.remove(at: choice % queue.count)
        if case .failed = await reconciler.reconcile(work), !queue.contains(work) { queue.append(work) }
    }

    /// Until nothing is left to deliver or to do. The cluster's own controllers run along.
    func settle(sourceLocation: SourceLocation = #_sourceLocation) async {
        for _ in 0..<20_000 {
            var isBusy = false
            while server.step() { isBusy = true }
            for kind in Self.kinds where deliver(kind) { isBusy = true }
            if !queue.isEmpty {
                await work()
                isBusy = true
            }
            if !isBusy { return }
        }
        Issue.record("it never settles; still to do: \(queue.prefix(5))", sourceLocation: sourceLocation)
    }
}
