import Kubernetes
import KubernetesTestSupport
import Testing

@testable import Imports

@Suite struct PopulateTests {
    let world: World
    init() throws { world = try World() }

    private let reference: JSON = [
        "dataSourceRef": ["apiGroup": "millrace.dev", "kind": "DatasetImport", "name": "iris"]
    ]

    @Test("C5: a claim whose dataSourceRef names an import gets a volume that is filled")
    func populated() async throws {
        world.add(import: "iris", [:])
        world.add(claim: "data", reference)
        await world.settle()
        #expect(world.status("iris")?.phase == .ready)
        let claim = try #require(world.claim("data"))
        #expect(claim.status?.phase == "Bound")
        #expect(claim.metadata.annotations?[ImportNames.phase] == "Succeeded")
        #expect(world.all(PersistentVolume.self).count == 1, "the prime claim's volume is the claim's now")
        #expect(world.jobs.isEmpty && world.all(PersistentVolumeClaim.self).count == 1, "nothing else is left")
    }

    @Test("P3, C5: a claim that is read-only for many is filled on a volume that one writes, and gets that as it asked")
    func readOnlyMany() async throws {
        world.add(import: "iris", [:])
        world.add(claim: "data", reference.merged(with: ["accessModes": ["ReadOnlyMany"]]))
        for _ in 0..<2 { await world.look() }
        let prime = world.all(PersistentVolumeClaim.self).first { $0.metadata.name != "data" }
        #expect(prime?.spec.accessModes == ["ReadWriteOnce"])
        await world.settle()
        #expect(world.claim("data")?.status?.phase == "Bound")
        #expect(world.all(PersistentVolume.self).first?.spec.accessModes == ["ReadOnlyMany"])
    }

    @Test("C5: with WaitForFirstConsumer it waits for the pod's node, and copies there")
    func firstConsumer() async throws {
        world.add(import: "iris", [:])
        world.add(claim: "data", class: "late", reference)
        await world.settle(turns: 4)
        #expect(world.all(PersistentVolumeClaim.self).count == 1 && world.jobs.isEmpty)
        #expect(world.events(about: "data") == ["WaitForFirstConsumer"])
        world.select(node: "node7", for: "data")
        for _ in 0..<3 {
            await world.look()
            world.provision()
        }
        let job = try #require(world.jobs.first)
        #expect(job.spec?.description.contains("\"values\":[\"node7\"]") == true)
        await world.settle()
        #expect(world.claim("data")?.status?.phase == "Bound")
    }

    @Test("C5: a copy that fails leaves the claim Pending, and says so")
    func failure() async throws {
        world.add(import: "iris", [:])
        world.add(claim: "data", reference)
        for _ in 0..<3 {
            await world.look()
            world.provision()
            world.startPods()
        }
        world.end(
            try #require(world.jobs.first), succeeded: false,
            #"{"phase":"Failed","objects":0,"bytes":0,"final":true,"message":"no such bucket"}"#)
        await world.look()
        #expect(world.claim("data")?.status?.phase == "Pending")
        #expect(world.claim("data")?.metadata.annotations?[ImportNames.phase] == "Failed")
        #expect(world.events(about: "data").contains("ImportFailed"))
    }

    @Test("C5: a claim that goes takes the prime claim and the Job along")
    func deletion() async throws {
        world.add(import: "iris", [:])
        world.add(claim: "data", reference)
        for _ in 0..<3 {
            await world.look()
            world.provision()
        }
        #expect(world.jobs.count == 1)
        world.server.delete(PersistentVolumeClaim.resource, "data", namespace: "team")
        await world.look()
        #expect(world.jobs.isEmpty && world.all(PersistentVolumeClaim.self).isEmpty)
    }

    @Test("V13: killed at any API call, a claim is populated all the same", arguments: [false, true])
    func crashes(after: Bool) async throws {
        for call in 1... {
            let world = try World()
            world.add(import: "iris", [:])
            world.add(claim: "data", reference)
            world.restart(dyingAt: call, after: after)
            await world.settle(turns: 6)
            let died = world.life.isDead
            world.restart()
            await world.settle()
            try #require(world.claim("data")?.status?.phase == "Bound", "killed at call \(call)")
            #expect(world.all(PersistentVolume.self).count == 1, "killed at call \(call)")
            #expect(world.jobs.isEmpty && world.all(PersistentVolumeClaim.self).count == 1, "killed at call \(call)")
            if !died { return }
            try #require(call < 200)
        }
    }
}
