import Kubernetes
import KubernetesTestSupport
import Testing

@testable import Imports

@Suite struct ImportTests {
    let world: World
    init() throws { world = try World() }

    @Test("C6: an import runs its Job to the end, and the status outlives it")
    func runsToTheEnd() async throws {
        world.add(claim: "golden")
        world.add(import: "iris", ["claimName": "golden"])
        await world.settle()
        let status = try #require(world.status("iris"))
        #expect(status.phase == .succeeded && status.claimName == "golden")
        #expect(
            status.progress
                == DatasetImport.Progress(objects: 3, objectsTotal: 3, bytes: 99, bytesTotal: 99, percent: 100))
        #expect(status.startTime != nil && status.completionTime != nil)
        #expect(world.claim("golden")?.metadata.annotations?[ImportNames.filledBy] == nil, "the claim is let go")
        let job = try #require(world.jobs.first)
        world.server.delete(Job.resource, job.metadata.name!, namespace: "team")
        await world.settle()
        #expect(world.jobs.isEmpty, "it isn't run again")
        #expect(world.status("iris")?.phase == .succeeded)
        #expect(world.events(about: "iris") == ["Imported"])
    }

    @Test("C1: a claim is made over any provisioner's class and filled")
    func makesItsClaim() async throws {
        world.add(
            import: "iris", ["claimTemplate": ["storageClassName": "disk", "capacity": "5Gi", "labels": ["a": "b"]]])
        await world.settle()
        let claim = try #require(world.claim("iris"))
        #expect(claim.spec.storageClassName == "disk" && claim.spec.resources?.requests == ["storage": "5Gi"])
        #expect(claim.metadata.labels?["a"] == "b" && claim.status?.phase == "Bound")
        #expect(world.status("iris")?.phase == .succeeded)
    }

    @Test("C8: progress, phase, conditions and restarts are in the status")
    func progress() async throws {
        world.add(import: "iris", ["claimName": "golden"])
        await world.look()
        await world.look()
        #expect(world.status("iris")?.phase == .pending)
        #expect(world.condition("iris", "Running")?.reason == "ClaimMissing")
        world.add(claim: "golden")
        for _ in 0..<4 { await world.look() }
        let address = try #require(world.startPods().first)
        world.reports.byAddress.withLock {
            $0[address] =
                #"{"phase":"Copying","objects":5,"objectsTotal":20,"bytes":250,"bytesTotal":1000,"message":""}"#
        }
        await world.look()
        #expect(world.status("iris")?.phase == .running)
        #expect(world.status("iris")?.progress?.percent == 25)
        #expect(world.condition("iris", "Running")?.status == "True")
        let job = try #require(world.jobs.first)
        world.end(job, succeeded: false, "", isLast: false)
        world.startPods()
        await world.look()
        #expect(world.status("iris")?.restarts == 1)
        #expect(world.status("iris")?.phase == .running)
        world.end(job, succeeded: true, World.done)
        await world.look()
        #expect(world.status("iris")?.phase == .succeeded && world.status("iris")?.restarts == 1)
        #expect(world.condition("iris", "Ready")?.status == "True")
    }

    @Test("C9: a failure that is final ends it, with the copy's own words")
    func failure() async throws {
        world.add(claim: "golden")
        world.add(import: "iris", ["claimName": "golden"])
        for _ in 0..<4 { await world.look() }
        world.startPods()
        let report = #"{"phase":"Failed","objects":1,"bytes":9,"final":true,"message":"a.bin: wrong checksum"}"#
        world.end(try #require(world.jobs.first), succeeded: false, report)
        for _ in 0..<3 { await world.look() }
        #expect(world.status("iris")?.phase == .failed)
        #expect(world.status("iris")?.message == "a.bin: wrong checksum")
        #expect(world.claim("golden")?.metadata.annotations?[ImportNames.filledBy] == nil)
        #expect(
            world.events(about: "iris") == ["BackoffLimitExceeded"] || world.events(about: "iris") == ["ImportFailed"])
    }

    @Test("two imports onto one claim: the second is refused, and nothing of the first changes")
    func twoOntoOne() async throws {
        world.add(claim: "golden")
        world.add(import: "first", ["claimName": "golden"])
        for _ in 0..<4 { await world.look() }
        world.add(import: "second", ["claimName": "golden"])
        for _ in 0..<4 { await world.look() }
        #expect(world.status("second")?.phase == .failed)
        #expect(world.condition("second", "Accepted")?.status == "False")
        #expect(world.condition("second", "Accepted")?.reason == "ClaimInUse")
        #expect(world.condition("second", "Accepted")?.message.contains("first") == true)
        #expect(world.jobs.count == 1)
        await world.settle()
        #expect(world.status("first")?.phase == .succeeded)
        // Once the first is over the claim may be filled again.
        world.add(import: "third", ["claimName": "golden"])
        await world.settle()
        #expect(world.status("third")?.phase == .succeeded)
    }

    @Test("addresses of this machine and its link are refused, and nothing is made")
    func addresses() async throws {
        world.add(claim: "golden")
        world.add(
            import: "meta",
            ["claimName": "golden", "source": ["http": ["urls": ["http://169.254.169.254/latest/meta-data/"]]]])
        for _ in 0..<3 { await world.look() }
        #expect(world.status("meta")?.phase == .failed)
        #expect(world.condition("meta", "Accepted")?.reason == "AddressRefused")
        #expect(world.jobs.isEmpty)
    }

    @Test("cleanup removes Job and pods, keeps the status, and may come twice")
    func cleanup() async throws {
        world.add(claim: "golden")
        world.add(import: "iris", ["claimName": "golden"])
        for _ in 0..<4 { await world.look() }
        world.startPods()
        let service = ImportService(client: Client(transport: DirectTransport(world.server), fieldManager: "test"))
        for _ in 0..<2 { try await service.cleanup(name: "iris", namespace: "team") }
        try await service.cleanup(name: "nobody", namespace: "team")
        for _ in 0..<4 { await world.look() }
        #expect(world.jobs.isEmpty && world.all(Pod.self).isEmpty)
        #expect(world.status("iris")?.phase == .failed)
        #expect(world.claim("golden")?.metadata.annotations?[ImportNames.filledBy] == nil)
    }

    @Test("V13: a deleted import is gone only after its Job and pods")
    func deletion() async throws {
        world.add(claim: "golden")
        world.add(import: "iris", ["claimName": "golden"])
        for _ in 0..<4 { await world.look() }
        world.startPods()
        world.server.delete(DatasetImport.resource, "iris", namespace: "team")
        #expect(world.item("iris") != nil)
        for _ in 0..<4 { await world.look() }
        #expect(world.item("iris") == nil)
        #expect(world.jobs.isEmpty && world.all(Pod.self).isEmpty)
        #expect(world.claim("golden") != nil, "a claim that it didn't make stays")
        #expect(world.claim("golden")?.metadata.annotations?[ImportNames.filledBy] == nil)
    }

    @Test("V13: killed at any API call, it comes to the same end", arguments: [false, true])
    func crashes(after: Bool) async throws {
        for call in 1... {
            let world = try World()
            world.add(import: "iris", ["claimTemplate": ["storageClassName": "disk", "capacity": "1Gi"]])
            world.restart(dyingAt: call, after: after)
            await world.settle(turns: 6)
            let died = world.life.isDead
            world.restart()
            await world.settle()
            try #require(world.status("iris")?.phase == .succeeded, "killed at call \(call)")
            #expect(world.jobs.count == 1 && world.all(Pod.self).count == 1, "killed at call \(call)")
            #expect(world.claim("iris")?.metadata.annotations?[ImportNames.filledBy] == nil, "killed at call \(call)")
            world.server.delete(DatasetImport.resource, "iris", namespace: "team")
            await world.settle()
            #expect(world.item("iris") == nil && world.jobs.isEmpty && world.claim("iris") == nil)
            if !died { return }
            try #require(call < 200)
        }
    }
}
