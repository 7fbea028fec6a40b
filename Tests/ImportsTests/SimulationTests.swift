import FoundationEssentials
import Kubernetes
import KubernetesTestSupport
import TestSupport
import Testing

@testable import Controller
@testable import Imports

/// Random histories of people, Jobs, nodes and a controller that dies, the same for the same seed.
@Suite struct ImportSimulationTests {
    /// More for a longer run: MILLRACE_SIM_SEEDS=10000, from MILLRACE_SIM_FIRST on.
    static let seeds: Range<UInt64> = {
        let environment = ProcessInfo.processInfo.environment
        let first = environment["MILLRACE_SIM_FIRST"].flatMap(UInt64.init) ?? 1
        return first..<(first + (environment["MILLRACE_SIM_SEEDS"].flatMap(UInt64.init) ?? 40))
    }()

    @Test(
        "P15, V13, C5, C11: one writer a claim, no claim bound unfilled, nothing left after a deletion",
        arguments: seeds)
    func everyHistoryEndsWell(seed: UInt64) async throws {
        let simulation = try ImportSimulation(seed: seed)
        for _ in 0..<150 {
            await simulation.step()
            if let problem = simulation.problem() {
                Issue.record("seed \(seed): \(problem)\n\(simulation.story.suffix(40).joined(separator: "\n"))")
                return
            }
        }
        for problem in await simulation.finish() {
            Issue.record("seed \(seed): \(problem)\n\(simulation.story.suffix(60).joined(separator: "\n"))")
        }
    }
}

private final class ImportSimulation {
    private let world: World
    private var random: Seeded
    private(set) var story: [String] = []
    /// UIDs of claims that a Job of theirs has filled.
    private var filled: Set<String> = []
    /// Claims that people made and didn't delete.
    private var ours: Set<String> = []

    init(seed: UInt64) throws {
        world = try World()
        random = Seeded(seed)
    }

    private func pick<C: Collection>(_ items: C) -> C.Element? { items.randomElement(using: &random) }
    private func chance(_ one: Int) -> Bool { Int.random(in: 0..<one, using: &random) == 0 }

    // MARK: What happens

    func step() async {
        switch Int.random(in: 0..<16, using: &random) {
        case 0: addImport()
        case 1: addClaim()
        case 2:
            guard chance(3), let item = pick(world.all(DatasetImport.self)) else { break }
            tell("import \(item.key.name) is deleted")
            world.server.delete(DatasetImport.resource, item.key.name, namespace: "team")
        case 3:
            guard chance(4), let name = pick(ours.sorted()) else { break }
            tell("claim \(name) is deleted")
            ours.remove(name)
            world.server.delete(PersistentVolumeClaim.resource, name, namespace: "team")
        case 4:
            guard chance(4), let item = pick(world.all(DatasetImport.self)) else { break }
            tell("cleanup of \(item.key.name)")
            world.annotate(import: item.key.name, ["millrace.dev/cleanup": "true"])
        case 5:
            tell("an hour passes")
            world.now.withLock { $0 += 3600 }
        case 6:
            let call = Int.random(in: 1...12, using: &random)
            tell("a controller that dies at call \(call)")
            world.restart(dyingAt: call, after: chance(2))
            await world.look()
            world.restart()
        case 7, 8: world.provision()
        case 9, 10: world.startPods()
        case 11, 12: endJob()
        default: await world.look()
        }
    }

    private func addImport() {
        guard let name = pick(["a", "b", "c", "d"]), world.item(name) == nil else { return }
        let template: JSON = ["storageClassName": "disk", "capacity": "1Gi"]
        let spec: JSON =
            switch Int.random(in: 0..<4, using: &random) {
            case 0: ["claimName": "golden"]
            case 1: ["claimTemplate": template]
            case 2: ["claimTemplate": template, "schedule": "0 * * * *", "keepLast": 2]
            default: [:]
            }
        tell("import \(name): \(spec)")
        world.add(import: name, spec)
    }

    private func addClaim() {
        guard let name = pick(["golden", "one", "two"]), world.claim(name) == nil else { return }
        tell("claim \(name)")
        ours.insert(name)
        if name == "golden" { return world.add(claim: name) }
        let modes: JSON = chance(2) ? ["ReadWriteOnce"] : ["ReadOnlyMany"]
        let source = pick(["a", "b", "c", "d"])!
        world.add(
            claim: name,
            [
                "accessModes": modes,
                "dataSourceRef": ["apiGroup": "millrace.dev", "kind": "DatasetImport", "name": .string(source)],
            ])
    }

    private func endJob() {
        guard let job = pick(world.jobs.filter { !$0.isOver && !world.podsOf($0).isEmpty }) else { return }
        let isWell = !chance(4)
        tell("Job \(job.key.name) ends \(isWell ? "well" : "badly")")
        if isWell, let uid = target(of: job)?.metadata.uid { filled.insert(uid) }
        let failure = #"{"phase":"Failed","objects":1,"bytes":3,"final":false,"message":"the network is down"}"#
        world.end(job, succeeded: isWell, isWell ? World.done : failure, isLast: chance(2))
    }

    private func target(of job: Job) -> PersistentVolumeClaim? {
        let volumes = job.spec?.at("template", "spec", "volumes")?.array ?? []
        let name = volumes.compactMap { $0.at("persistentVolumeClaim", "claimName")?.string }.first
        return name.flatMap { world.claim($0) }
    }

    private func tell(_ text: String) { story.append(text) }

    // MARK: What must always hold

    func problem() -> String? {
        var writers: [String: String] = [:]
        for job in world.jobs {
            guard let claim = target(of: job)?.key.name else { continue }
            for pod in world.podsOf(job) where pod.status?.phase == "Running" {
                if let other = writers[claim], other != job.key.name {
                    return "Jobs \(other) and \(job.key.name) write claim \(claim) at a time"
                }
                writers[claim] = job.key.name
            }
        }
        for name in ours where world.claim(name) == nil { return "claim \(name) is gone, and nobody deleted it" }
        for claim in world.all(PersistentVolumeClaim.self)
        where claim.spec.dataSourceRef != nil && claim.status?.phase == "Bound" {
            // The prime claim's volume, by its name.
            let prime = claim.spec.volumeName?.dropFirst(3) ?? ""
            if !filled.contains(String(prime)) { return "claim \(claim.key.name) is bound, and nothing was copied" }
        }
        for item in world.all(DatasetImport.self) where !item.isScheduled && item.status?.phase == .succeeded {
            if item.status?.progress?.objects != 3 { return "import \(item.key.name) succeeded without a copy" }
        }
        return nil
    }

    // MARK: The end

    /// Left alone, all ends; and what is deleted leaves nothing.
    func finish() async -> [String] {
        world.restart()
        await world.settle(turns: 15)
        var problems: [String] = []
        for item in world.all(DatasetImport.self) {
            let waits = item.spec.claimName == "golden" && world.claim("golden") == nil
            let phase = item.status?.phase
            let isWell = item.isOver || phase == .ready || phase == .scheduled || waits
            if !isWell { problems.append("import \(item.key.name) is \(phase?.rawValue ?? "nothing") in the end") }
            let made = world.all(PersistentVolumeClaim.self).count {
                $0.metadata.labels?[ImportNames.uidLabel] == item.metadata.uid
            }
            if item.isScheduled, made > 3 { problems.append("import \(item.key.name) keeps \(made) claims") }
        }
        for item in world.all(DatasetImport.self) {
            world.server.delete(DatasetImport.resource, item.key.name, namespace: "team")
        }
        await world.settle(turns: 10)
        for name in ours { world.server.delete(PersistentVolumeClaim.resource, name, namespace: "team") }
        await world.settle(turns: 6)
        problems += world.jobs.map { "Job \($0.key.name) is left" }
        problems += world.all(PersistentVolumeClaim.self).map { "claim \($0.key.name) is left" }
        problems += world.all(DatasetImport.self).map { "import \($0.key.name) is left" }
        problems += world.all(Pod.self).map { "pod \($0.key.name) is left" }
        return problems
    }
}
