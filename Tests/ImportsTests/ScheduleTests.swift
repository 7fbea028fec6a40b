import Kubernetes
import KubernetesTestSupport
import Testing

@testable import Imports

@Suite struct ScheduleTests {
    let world: World
    init() throws { world = try World() }

    private func wait(_ seconds: Int) { world.now.withLock { $0 += seconds } }
    private var names: [String] { world.all(PersistentVolumeClaim.self).compactMap(\.metadata.name).sorted() }
    private var latest: [String] {
        world.all(PersistentVolumeClaim.self).filter { $0.metadata.labels?[ImportNames.latest] == "true" }
            .compactMap(\.metadata.name)
    }

    @Test("C11: a schedule fills a new claim each time and keeps the last N")
    func keepsTheLast() async throws {
        world.add(
            import: "iris",
            ["claimTemplate": ["storageClassName": "disk", "capacity": "1Gi"], "schedule": "0 * * * *", "keepLast": 2])
        let hour = world.now.withLock { $0 } / 3600
        await world.settle()
        #expect(world.status("iris")?.phase == .scheduled && names.count == 1, "the first run is at once")
        let first = try #require(world.status("iris")?.latestClaim)
        for _ in 0..<3 {
            wait(3600)
            await world.settle()
        }
        let status = try #require(world.status("iris"))
        #expect(names.count == 2 && !names.contains(first))
        #expect(latest == [status.latestClaim], "the newest whole one, and only that, is called the latest")
        #expect(status.history?.count == 2 && status.history?.first?.claimName == status.latestClaim)
        #expect(status.nextScheduleTime == Timestamp.at(Int64((hour + 4) * 3600)))
    }

    @Test("C11: a run that fails leaves the data of the one before in its place")
    func aFailedRun() async throws {
        world.add(
            import: "iris",
            ["claimTemplate": ["storageClassName": "disk", "capacity": "1Gi"], "schedule": "0 * * * *", "keepLast": 1])
        await world.settle()
        let first = try #require(world.status("iris")?.latestClaim)
        wait(3600)
        for _ in 0..<6 {
            await world.look()
            world.provision()
            world.startPods()
        }
        let job = try #require(world.jobs.first { !$0.isOver })
        world.end(job, succeeded: false, #"{"phase":"Failed","objects":0,"bytes":0,"message":"no such bucket"}"#)
        await world.settle()
        #expect(world.status("iris")?.latestClaim == first && names == [first] && latest == [first])
        #expect(world.status("iris")?.history?.first?.phase == .failed)
    }

    @Test("C11: times that were missed are made up for once")
    func missedTimes() throws {
        var item = DatasetImport(
            metadata: ObjectMeta(name: "iris"), spec: DatasetImport.Spec(source: DatasetImport.Source()))
        item.spec.schedule = "0 * * * *"
        #expect(SchedulePlan.decide(item, created: 1_000, now: 2_000) == .start(1_000))
        #expect(
            SchedulePlan.decide(item, created: 2_010, now: 2_000) == .start(2_000), "the API server's clock is ahead")
        item.status = DatasetImport.Status()
        item.status?.lastScheduleTime = "2026-11-21T03:10:00Z"
        let now = try #require(Timestamp.seconds("2026-11-21T09:30:00Z"))
        #expect(SchedulePlan.decide(item, created: 0, now: now) == .start(now - 1800))
        item.status?.lastScheduleTime = "2026-11-21T09:00:00Z"
        #expect(SchedulePlan.decide(item, created: 0, now: now) == .waitUntil(now + 1800))
        item.spec.suspend = true
        #expect(SchedulePlan.decide(item, created: 0, now: now) == .never)
    }
}
