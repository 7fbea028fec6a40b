import Controller
import FoundationEssentials
import Kubernetes
import KubernetesTestSupport
import PrometheusMetrics
import Synchronization
import Testing
import Threads

@testable import Warming

/// Pods that say nothing of how they get on.
struct Silence: ProgressSource {
    func progress(of address: String, port: Int) async -> JSON? { nil }
}

/// Seconds since 1970, moved by hand.
final class HandClock: Sendable {
    private let seconds = Atomic<Int>(start)
    var now: Int { seconds.load(ordering: .relaxed) }
    func advance(_ count: Int) { seconds.add(count, ordering: .relaxed) }
}

/// A warm-up controller that is run by hand: events are delivered and work is done one at a time, in one task, so that a
/// test is the same every time. It can be killed at any API call.
final class Stepper {
    static let kinds: [Resource] = [
        Dataset.resource, DatasetLoad.resource, ClusterNode.resource, WarmPod.resource,
        PersistentVolumeClaim.resource,
    ]
    private let server: APIServer
    private let clock: HandClock
    private let tables = WarmingTables()
    private var reconciler: WarmingReconciler!
    private var queue: [ObjectKey] = []
    private var later: [ObjectKey: Int] = [:]
    private var seen: [Resource: Int] = [:]
    private let asked = Locked<[ObjectKey]>([])
    private let life = Life()

    /// A fresh process: it lists everything and looks at everything.
    init(_ server: APIServer, _ clock: HandClock) {
        self.server = server
        self.clock = clock
        var transport = DirectTransport(server)
        transport.hook = { [life] _, isDone throws(APIError) in try life.check(isDone: isDone) }
        let asked = asked
        reconciler = WarmingReconciler(
            client: Client(transport: transport, fieldManager: Names.controller), tables: tables,
            ids: VolumeIDs(key: Array("a key for tests only".utf8)), driver: Names.defaultDriver,
            settings: WarmPodSettings(), progress: Silence(), metrics: Registry(), logger: quiet,
            now: { clock.now }, enqueue: { key in asked.withLock { $0.append(key) } })
        let revision = server.revision
        for kind in Self.kinds {
            for object in server.objects(kind) { add(apply(kind, object, isDeletion: false)) }
            seen[kind] = revision
        }
    }

    var isDead: Bool { life.isDead }
    func dieAt(call: Int, after: Bool) { life.dieAt(call: call, after: after) }

    private func add(_ keys: [ObjectKey]) {
        for key in keys.sorted() where !queue.contains(key) { queue.append(key) }
    }

    private func apply(_ kind: Resource, _ json: JSON, isDeletion: Bool) -> [ObjectKey] {
        func put<T: KubernetesObject>(
            _ table: ObjectTable<T>, _ isWanted: (T) -> Bool, _ keys: (T) -> [ObjectKey]
        ) -> [ObjectKey] {
            let object: T = decoded(json)
            guard isWanted(object) else { return [] }
            let old = isDeletion ? table.remove(object.key) : table.set(object)
            return (old.map(keys) ?? []) + keys(object)
        }
        func isLabelled(_ object: some KubernetesObject) -> Bool {
            object.metadata.labels?[WarmPods.ownerLabel] != nil
        }
        switch kind.plural {
        case "datasets": return put(tables.datasets, { _ in true }, WarmingTables.keys(of:))
        case "datasetloads": return put(tables.loads, { _ in true }, WarmingTables.keys(of:))
        case "nodes": return put(tables.nodes, { _ in true }, WarmingTables.keys(of:))
        case "pods": return put(tables.pods, isLabelled, WarmingTables.keys(ownersOf:))
        default: return put(tables.claims, isLabelled, WarmingTables.keys(ownersOf:))
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
        add(later.filter { $0.value <= clock.now }.map(\.key))
        later = later.filter { $0.value > clock.now }
        guard !queue.isEmpty else { return }
        let key = queue.remove(at: choice % queue.count)
        switch await reconciler.reconcile(key) {
        case .done: break
        case .again(let ms): later[key] = clock.now + max(1, (ms + 999) / 1000)
        case .failed: add([key])
        }
        add(
            asked.withLock { asked in
                defer { asked = [] }
                return asked
            })
    }

    var isIdle: Bool { queue.isEmpty }
    var nextDue: Int? { later.values.min() }
}
