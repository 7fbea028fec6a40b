import Kubernetes
import KubernetesTestSupport
import Testing

@testable import Controller

final class Simulation {
    let server: APIServer
    private var random: SplitMix
    /// The one that leads, and perhaps one that led and doesn't know yet that it lost.
    private var controllers: [Stepper] = []
    private var told: [String] = []
    private var serial = 0
    /// Claims that people made and nobody deleted since: name → uid.
    private var peoples: [ObjectKey: String] = [:]

    init(seed: UInt64) throws {
        random = SplitMix(seed: seed &* 0x9e37_79b9)
        server = try APIServer.cluster(seed: seed)
        server.add(class: "late", ["dataset": "courses/d0"], binding: "WaitForFirstConsumer")
        server.add(class: "d1", ["dataset": "courses/d1"])
        server.add(class: "foreign", ["bucket": "x", "anonymous": "true"])
        controllers = [Stepper(server)]
    }

    func story() -> String { told.suffix(60).joined(separator: "\n") }
    private func tell(_ text: String) { told.append(text) }
    private func pick<T>(_ items: [T]) -> T? { items.randomElement(using: &random) }
    private func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &random) < percent }

    func step() async {
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<22: person()
        case 22..<45: _ = server.step(choice: Int.random(in: 0..<64, using: &random))
        case 45..<65:
            let controller = pick(controllers)!
            controller.deliver(pick(Stepper.kinds)!, count: Int.random(in: 1...5, using: &random))
        case 65..<94:
            let controller = pick(controllers)!
            controller.areWatchesFaster = chance(20)
            if chance(15) { controller.dieAt(call: Int.random(in: 1...3, using: &random), after: chance(50)) }
            await controller.work(choice: Int.random(in: 0..<16, using: &random))
            controllers.removeAll { $0.isDead }
            if controllers.isEmpty {
                tell("controller died, another starts")
                controllers = [Stepper(server)]
            }
        case 94..<96:
            // The lease is lost and another leads; the old one goes on for a while with what it knew.
            if controllers.count == 1 {
                tell("two controllers")
                controllers.append(Stepper(server))
            } else {
                controllers.removeFirst()
            }
        default:
            let effects: [Fault.Effect] = [
                .status(500, reason: "InternalError"), .status(409, reason: "Conflict"),
                .status(429, reason: "TooManyRequests"),
                .lostRequest, .lostAnswer, .status(403, reason: "Forbidden"),
            ]
            server.inject(Fault(verb: pick(["create", "delete", "patch", "get", nil]) ?? nil, pick(effects)!))
        }
    }

    // MARK: People

    private func person() {
        serial += 1
        let namespaces = server.objects(Namespace.resource).compactMap { $0.at("metadata", "name")?.string }
            .filter { !["default", "kube-system", "courses"].contains($0) }
        let datasets = server.objects(Dataset.resource).compactMap { $0.at("metadata", "name")?.string }
        switch Int.random(in: 0..<14, using: &random) {
        case 0:
            let label = pick(["yes", "no"])!
            tell("namespace n\(serial) students=\(label)")
            server.add(
                namespace: "n\(serial)", labels: ["students": .string(label), "team": .string(pick(["a", "b"])!)])
        case 1:
            guard let name = pick(namespaces) else { return }
            let label = pick(["yes", "no"])!
            tell("relabel \(name) students=\(label)")
            server.patch(
                Namespace.resource, name,
                ["metadata": ["labels": ["students": .string(label), "team": .string(pick(["a", "b"])!)]]])
        case 2:
            guard chance(30), let name = pick(namespaces) else { return }
            tell("delete namespace \(name)")
            server.delete(Namespace.resource, name)
            peoples = peoples.filter { $0.key.namespace != name }
        case 3, 4:
            let name = pick(["d0", "d1", "d2"])!
            if datasets.contains(name) {
                tell("change \(name)")
                server.patch(Dataset.resource, name, namespace: "courses", ["spec": change()])
            } else {
                tell("dataset \(name)")
                server.add(dataset: name, in: "courses", change())
            }
        case 5:
            guard chance(40), let name = pick(datasets) else { return }
            tell("delete dataset \(name)")
            server.delete(Dataset.resource, name, namespace: "courses")
        case 6, 7, 8, 9:
            guard let namespace = pick(namespaces) else { return }
            // Sometimes under the name that a Dataset publishes.
            let name = chance(15) ? "shared" : "c\(serial)"
            let storageClass = pick(["millrace", "late", "d1", "foreign", "nosuch"])!
            let extra = storageClass == "millrace" ? annotated("courses/\(pick(["d0", "d1", "d2"])!)") : [:]
            let object: JSON =
                ([
                    "metadata": ["name": .string(name)],
                    "spec": [
                        "storageClassName": .string(storageClass), "accessModes": ["ReadOnlyMany"],
                        "resources": ["requests": ["storage": "1Gi"]],
                    ],
                ] as JSON).merged(with: extra)
            let response = server.perform(
                APIRequest(
                    method: "POST", target: PersistentVolumeClaim.resource.path(namespace: namespace),
                    body: object.bytes))
            tell("claim \(namespace)/\(name) class \(storageClass): \(response.status)")
            if response.status == 201, let uid = server.claim(name, namespace)?.at("metadata", "uid")?.string {
                peoples[ObjectKey(namespace: namespace, name: name)] = uid
            }
        case 10:
            guard let claim = pick(server.objects(PersistentVolumeClaim.resource)) else { return }
            let key = key(of: claim)
            tell("delete claim \(key)")
            server.delete(PersistentVolumeClaim.resource, key.name, namespace: key.namespace)
            peoples[key] = nil
        case 11:
            guard let claim = pick(server.objects(PersistentVolumeClaim.resource)) else { return }
            let key = key(of: claim)
            let object: JSON = [
                "metadata": ["name": .string("p\(serial)")],
                "spec": ["volumes": [["persistentVolumeClaim": ["claimName": .string(key.name)]]]],
                "status": ["phase": "Running"],
            ]
            tell("pod p\(serial) uses \(key)")
            _ = server.perform(
                APIRequest(method: "POST", target: Pod.resource.path(namespace: key.namespace), body: object.bytes))
        case 12:
            guard let pod = pick(server.objects(Pod.resource)) else { return }
            tell("delete pod \(key(of: pod))")
            server.delete(Pod.resource, key(of: pod).name, namespace: key(of: pod).namespace)
        default:
            guard chance(20), let volume = pick(server.objects(PersistentVolume.resource)) else { return }
            tell("delete volume \(key(of: volume))")
            server.delete(PersistentVolume.resource, key(of: volume).name)
        }
    }

    private func change() -> JSON {
        let grants: [JSON] = [
            ["from": "Same", "selector": .null], ["from": "All", "selector": .null],
            ["from": "Selector", "selector": ["matchLabels": ["team": .string(pick(["a", "b"])!)]]],
        ]
        var spec: JSON = [
            "allowedNamespaces": pick(grants)!, "revocation": .string(pick(["Drain", "Immediate"])!),
            "source": ["s3": ["endpoint": .string("http://127.0.0.1:\(Int.random(in: 1...2, using: &random))")]],
        ]
        if chance(40) {
            spec["publish"] = [
                "namespaceSelector": ["matchLabels": ["students": "yes"]],
                "claimName": .string(pick(["shared", "other"])!),
            ]
        } else {
            spec["publish"] = .null
        }
        return spec
    }

    private func key(of object: JSON) -> ObjectKey {
        ObjectKey(
            namespace: object.at("metadata", "namespace")?.string, name: object.at("metadata", "name")?.string ?? "")
    }

    // MARK: The end

    /// Faults stop, one controller leads, and everybody does what is left to do.
    func finish() async {
        server.clearFaults()
        tell("settling")
        let last = controllers.last!
        last.dieAt(call: .max, after: false)
        await last.settle()
        // A restart finds nothing left to do.
        let calls = server.callCounts
        let fresh = Stepper(server)
        await fresh.settle()
        let writes = server.callCounts.filter { key, count in
            count != calls[key] && !key.hasPrefix("get") && !key.hasPrefix("list") && !key.contains("events")
        }
        if !writes.isEmpty { leftovers = ["a restart still wrote: \(writes)"] }
    }
    private var leftovers: [String] = []

    /// What must hold at every moment.
    func safetyProblem() -> String? {
        var claims: [String: String] = [:]
        for volume in server.objects(PersistentVolume.resource) {
            guard let uid = volume.at("spec", "claimRef", "uid")?.string else { continue }
            let name = key(of: volume).name
            if let other = claims.updateValue(name, forKey: uid) {
                return "claim \(uid) has two volumes: \(other), \(name)"
            }
        }
        for (key, uid) in peoples
        where server.object(PersistentVolumeClaim.resource, key.name, namespace: key.namespace)?.at("metadata", "uid")?
            .string != uid
        {
            return "somebody's claim \(key) was deleted"
        }
        return nil
    }

    /// What must hold once all is settled.
    func problems() -> [String] {
        var problems = leftovers
        let tables = Stepper(server).reconciler.tables.withLock { $0 }
        for (name, volume) in tables.volumes where tables.isOurs(volume) {
            guard let reference = volume.spec.claimRef, let claimName = reference.name else { continue }
            let key = ObjectKey(namespace: reference.namespace, name: claimName)
            guard let claim = tables.claims[key], claim.metadata.uid == reference.uid else {
                problems.append("volume \(name) is an orphan of \(key)")
                continue
            }
            if let dataset = tables.dataset(of: volume), let namespace = tables.namespaces[key.namespace],
                tables.datasets[dataset]?.allows(namespace) != true, !claim.metadata.isBeingDeleted
            {
                problems.append("volume \(name) is for \(key), which isn't allowed \(dataset)")
            }
        }
        let provisioning = Provisioning(ids: VolumeIDs(key: Array("a key for tests only".utf8)))
        for (key, claim) in tables.claims where !claim.metadata.isBeingDeleted {
            guard let storageClass = tables.ourClass(of: claim) else { continue }
            let isAllowed = (try? provisioning.view(of: claim, storageClass, tables)) != nil
            let waits =
                storageClass.volumeBindingMode == "WaitForFirstConsumer"
                && claim.metadata.annotations?["volume.kubernetes.io/selected-node"] == nil
            let phase = claim.status?.phase ?? ""
            if isAllowed && !waits && phase != "Bound" {
                problems.append("claim \(key) is \(phase) and should be Bound")
            }
            if !isAllowed && phase == "Bound" { problems.append("claim \(key) is Bound and isn't allowed") }
        }
        for (key, dataset) in tables.datasets {
            for namespace in tables.namespaces.values where dataset.publishes(to: namespace) && !namespace.isTerminating
            {
                let wanted = ObjectKey(namespace: namespace.key.name, name: dataset.publishedClaimName)
                if tables.claims[wanted] == nil { problems.append("\(key) isn't published as \(wanted)") }
            }
        }
        for (key, claim) in tables.claims {
            guard let publisher = Publishing.publisher(of: claim), !claim.metadata.isBeingDeleted else { continue }
            let isRight = tables.namespaces[key.namespace].map {
                tables.datasets[publisher]?.publishes(to: $0) ?? false
            }
            if isRight != true { problems.append("claim \(key) is still published by \(publisher)") }
        }
        let pods = server.objects(Pod.resource)
        for object in server.objects(PersistentVolumeClaim.resource)
        where object.at("metadata", "deletionTimestamp") != nil {
            let key = key(of: object)
            let isUsed = pods.contains { pod in
                self.key(of: pod).namespace == key.namespace
                    && pod.at("spec", "volumes")?.array?.contains {
                        $0.at("persistentVolumeClaim", "claimName")?.string == key.name
                    } == true
            }
            if !isUsed { problems.append("claim \(key) is stuck in deletion") }
        }
        for (name, volume) in tables.volumes where volume.metadata.isBeingDeleted && volume.status?.phase != "Bound" {
            problems.append("volume \(name) is stuck in deletion")
        }
        return problems
    }
}
