import Controller
import Kubernetes
import Testing

@testable import RevisionControl

/// 2026-11-21T00:00:00Z
private let day = 1_795_219_200

@Suite struct RevisionPlanTests {
    private func dataset(_ configure: (inout Dataset) -> Void = { _ in }) -> Dataset {
        var s3 = Dataset.S3Source(bucket: "b")
        s3.prefix = "p"
        var spec = Dataset.Spec(source: Dataset.Source(s3: s3))
        spec.secretRef = Dataset.LocalReference(name: "keys")
        spec.revision = Dataset.Revision(policy: "Pinned")
        var metadata = ObjectMeta(name: "d", namespace: "n")
        metadata.uid = "uid-1"
        var dataset = Dataset(metadata: metadata, spec: spec)
        dataset.status = Dataset.Status()
        configure(&dataset)
        return dataset
    }

    private func record(_ id: String, _ dataset: Dataset, digest: String = "x") -> Dataset.RevisionRecord {
        Dataset.RevisionRecord(
            id: id, manifest: "s3://b/.millrace/revisions/uid-1/\(id).manifest", createdAt: "2026-11-20T00:00:00Z",
            objects: 1, bytes: 1, digest: digest, source: dataset.sourceDigest)
    }

    private func with(_ id: String, _ dataset: Dataset) -> Dataset {
        var dataset = dataset
        let record = record(id, dataset)
        dataset.status?.revisions = [record]
        return dataset
    }

    /// - Parameter pointed: the pointer leads to the newest revision.
    private func steps(
        _ dataset: Dataset, used: Set<String> = [], now: Int = day, pointed: Bool = true
    ) -> [RevisionPlan.Step] {
        var dataset = dataset
        if pointed, let newest = dataset.newestRevision {
            var state = dataset.status?.revision ?? Dataset.RevisionState(phase: "Ready", message: "")
            state.current = newest.id
            dataset.status?.revision = state
        }
        return RevisionPlan.decide(dataset, used: used, now: now).steps
    }

    @Test("C11: what is recorded is what pods that start get, and the one before stays until then")
    func pointer() {
        var dataset = dataset {
            let dataset = $0
            $0.spec.revision?.keep = 1
            $0.status?.revisions = [record("r2", dataset), record("r1", dataset)]
            $0.status?.revision = Dataset.RevisionState(phase: "Ready", message: "")
            $0.status?.revision?.current = "r1"
        }
        #expect(steps(dataset, pointed: false) == [.point(record("r2", dataset)), .wait(until: .max)])
        #expect(steps(dataset) == [.remove([record("r1", dataset)]), .wait(until: .max)])
        // It couldn't be moved: not again at once.
        dataset.status?.revision?.phase = "Failed"
        dataset.status?.revision?.lastAttempt = "2026-11-21T00:00:00Z"
        #expect(steps(dataset, now: day + 1, pointed: false).first == .wait(until: day + 60))
        #expect(steps(dataset, now: day + 60, pointed: false).first == .point(record("r2", dataset)))
    }

    @Test("C11: a revision that pods may show is kept: what was the newest at any time since the oldest was made")
    func held() {
        var records = (1...4).map { record("r\($0)", dataset()) }
        for (i, time) in ["00:10", "01:00", "02:00"].enumerated() { records[i].readyAt = "2026-11-21T\(time):00Z" }
        func held(_ time: Int) -> Set<String> { RevisionPlan.held(records, since: day + time) }
        // r4 isn't ready yet: pods get r3, and perhaps r4 in a moment.
        #expect(held(3 * 3600) == ["r3", "r4"])
        #expect(held(90 * 60) == ["r2", "r3", "r4"])
        // Clocks may differ by a minute.
        #expect(held(60 * 60 + 59) == ["r1", "r2", "r3", "r4"])
        #expect(held(60 * 60 + 60) == ["r2", "r3", "r4"])
        #expect(held(0) == ["r1", "r2", "r3", "r4"])
    }

    @Test func aPinnedDatasetGetsItsFirstRevisionAtOnce() {
        #expect(steps(dataset()) == [.build(why: "there is no revision of the source yet", request: nil)])
        #expect(steps(dataset { $0.spec.revision?.policy = "Live" }) == [])
        #expect(steps(dataset { $0.spec.revision = nil }) == [])
    }

    @Test func withoutAScheduleOneIsEnough() {
        let pinned = dataset { $0 = with("r1", $0) }
        #expect(steps(pinned) == [.wait(until: .max)])
    }

    @Test("C11: revisions are made on a schedule") func schedule() {
        let scheduled = dataset {
            $0.spec.revision?.schedule = "0 3 * * *"
            $0 = with("r1", $0)
            $0.status?.revision = Dataset.RevisionState(phase: "Ready", message: "")
            $0.status?.revision?.lastAttempt = "2026-11-20T12:00:00Z"
        }
        #expect(steps(scheduled) == [.wait(until: day + 3 * 3600)])
        #expect(steps(scheduled, now: day + 3 * 3600) == [.build(why: "the schedule says so", request: nil)])
        // Missed for days: made up for once.
        #expect(steps(scheduled, now: day + 5 * 86_400).count == 1)
    }

    @Test("C11: the last N are kept, and those that volumes show") func keepsTheLast() {
        let many = dataset {
            let dataset = $0
            $0.spec.revision?.keep = 2
            $0.status?.revisions = (1...6).map { record("r\($0)", dataset) }
        }
        func removed(_ used: Set<String>) -> [String] {
            for case .remove(let records) in steps(many, used: used) { return records.map(\.id) }
            return []
        }
        #expect(removed([]) == ["r1", "r2", "r3", "r4"])
        #expect(removed(["r1", "r3"]) == ["r2", "r4"])
        #expect(removed(["r1", "r2", "r3", "r4"]) == [])
        // Live again: the newest stays, as a volume may be made of it this moment.
        var live = many
        live.spec.revision?.policy = "Live"
        #expect(steps(live, used: ["r2"]) == [.remove(["r1", "r3", "r4", "r5"].map { record($0, live) })])
    }

    @Test func anotherSourceNeedsAnotherRevision() {
        let moved = dataset {
            $0 = with("r1", $0)
            $0.spec.source.s3?.prefix = "elsewhere"
        }
        #expect(steps(moved, used: ["r1"]) == [.build(why: "there is no revision of the source yet", request: nil)])
        #expect(steps(moved).count == 2)
        #expect(moved.newestRevision == nil)
    }

    @Test func anAnnotationAsksForOneOnce() {
        var asked = dataset {
            $0 = with("r1", $0)
            $0.metadata.annotations = [Names.newRevision: "1"]
        }
        #expect(steps(asked) == [.build(why: "the annotation millrace.dev/new-revision asks for it", request: "1")])
        asked.status?.revision = Dataset.RevisionState(phase: "Ready", message: "")
        asked.status?.revision?.request = "1"
        #expect(steps(asked) == [.wait(until: .max)])
    }

    @Test func aFailureIsTriedAgainAfterAWhile() {
        let failed = dataset {
            $0.status?.revision = Dataset.RevisionState(phase: "Failed", message: "no")
            $0.status?.revision?.lastAttempt = "2026-11-21T00:00:00Z"
        }
        #expect(steps(failed, now: day + 10) == [.wait(until: day + 60)])
        #expect(steps(failed, now: day + 60).count == 1)
        if case .build = steps(failed, now: day + 60)[0] {} else { Issue.record("it isn't tried again") }
    }

    @Test func deletingWaitsForVolumes() {
        let going = dataset {
            $0.metadata.deletionTimestamp = "2026-11-21T00:00:00Z"
            $0.metadata.finalizers = [RevisionPlan.finalizer]
            $0 = with("r1", $0)
        }
        #expect(steps(going, used: ["r1"]) == [])
        #expect(steps(going) == [.leave])
        #expect(steps(dataset { $0.metadata.deletionTimestamp = "2026-11-21T00:00:00Z" }) == [])
    }

    @Test func whatCannotBeDoneIsSaid() {
        func expect(_ words: String, _ configure: (inout Dataset) -> Void) {
            var why = ""
            for case .refuse(let text) in steps(dataset(configure)) { why = text }
            #expect(why.contains(words), "\(why)")
        }
        expect("schedule is \"soon\"") { $0.spec.revision?.schedule = "soon" }
        expect("public bucket") {
            $0.spec.secretRef = nil
            $0.spec.source.s3?.anonymous = true
        }
        expect("pod's role") {
            $0.spec.secretRef = nil
            $0.spec.source.s3?.roleARN = "arn"
        }
        expect("speak S3") { $0.spec.source = Dataset.Source(http: .init(url: "http://h/")) }
        expect("can't be kept in Pachyderm") {
            $0.spec.source = Dataset.Source(pachyderm: .init(endpoint: "http://h", repo: "r"))
        }
        expect("store.secretRef") {
            $0.spec.revision?.store = .init(bucket: "s")
            $0.spec.secretRef = nil
        }
        expect("prefix") {
            $0.spec.revision?.store = .init(bucket: "s")
            $0.spec.revision?.store?.prefix = "/x"
        }
    }
}
