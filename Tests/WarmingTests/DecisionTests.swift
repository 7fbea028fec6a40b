import Controller
import Kubernetes
import Testing

@testable import Warming

@Suite struct DecisionTests {
    private let two = nodes(node("a"), node("b"))

    private func decide(
        _ owner: WarmOwner, nodes: [ClusterNode]? = nil, pods: [WarmPod] = [], progress: [String: WarmProgress] = [:],
        now: Int = start, view: String = "v", run: String = ""
    ) -> WarmDecision {
        WarmDecision(
            owner, .init(nodes: nodes ?? two, pods: pods, progress: progress, now: now), view: view, run: run)
    }

    private func names(_ decision: WarmDecision, _ owner: WarmOwner) -> [String] {
        decision.creations.map { WarmPods.name(owner, $0.attempt) }
    }

    @Test("V2: Pending, Running, Completed, with a message")
    func aWarmUpGoesThroughItsPhases() throws {
        var me = owner(warm(replicas: 2))
        let first = decide(me)
        #expect(first.status.phase == .pending && first.status.replicas == 2 && first.creations.count == 2)
        #expect(first.status.message?.isEmpty == false)
        let pods = names(first, me)

        me.status = first.status
        let progress = try #require(
            WarmProgress(
                text: #"{"phase":"Warming","objects":3,"objectsTotal":9,"bytes":30,"bytesTotal":90,"message":""}"#))
        let second = decide(me, pods: pods.map { pod($0, "Running") }, progress: [pods[0]: progress])
        #expect(second.status.phase == .running && second.creations.isEmpty && second.deletions.isEmpty)
        #expect(second.status.nodes?[0].bytes == 30 && second.status.nodes?[0].bytesTotal == 90)
        #expect(second.againMs != nil)

        me.status = second.status
        let words = #"{"phase":"Succeeded","objects":9,"objectsTotal":9,"bytes":90,"bytesTotal":90,"message":""}"#
        let third = decide(me, pods: pods.map { pod($0, "Succeeded", message: words) })
        #expect(third.status.phase == .completed && third.status.readyReplicas == 2)
        #expect(third.status.nodes?.allSatisfy { $0.phase == .warm && $0.bytes == 90 } == true)
        #expect(third.deletions.isEmpty, "the pods go once that is written")

        me.status = third.status
        let fourth = decide(me, pods: pods.map { pod($0, "Succeeded", message: words) }, now: start + 10)
        #expect(fourth.deletions.count == 2 && fourth.creations.isEmpty && fourth.status == third.status)
        me.status = fourth.status
        let last = decide(me, now: start + 1000)
        #expect(last.deletions.isEmpty && last.creations.isEmpty && last.status == third.status && last.againMs == nil)
    }

    @Test("V2: a failure is told, and tried again with longer and longer pauses")
    func failuresComeAgain() {
        var me = owner(warm(replicas: 1))
        var now = start
        var pauses: [Int] = []
        for failure in 1...8 {
            let begun = decide(me, now: now)
            #expect(begun.creations.count == 1)
            let name = names(begun, me)[0]
            me.status = begun.status
            let words = #"{"phase":"Failed","objects":1,"bytes":1,"message":"the bucket is gone"}"#
            let failed = decide(me, pods: [pod(name, "Failed", message: words)], now: now)
            #expect(failed.status.phase == .failed && failed.reason == "Failed")
            #expect(failed.status.message?.contains("the bucket is gone") == true)
            #expect(failed.status.nodes?.first?.failures == failure)
            me.status = failed.status
            #expect(decide(me, pods: [pod(name, "Failed")], now: now).deletions.count == 1)
            let waiting = decide(me, now: now)
            #expect(waiting.creations.isEmpty)
            let pause = (waiting.againMs ?? 0) / 1000
            pauses.append(pause)
            now += pause
        }
        #expect(pauses == [60, 120, 240, 480, 960, 1800, 1800, 1800])
    }

    @Test("V3: the status has a nodeAffinity to paste, for all files or for each pattern")
    func affinityToPaste() {
        let whole = decide(owner(warm(replicas: 1))).status
        let expected = NodeAffinity(required: [
            .init(matchExpressions: [.init(key: "warm.millrace.dev/courses.iris", operator: "Exists")])
        ])
        #expect(whole.nodeAffinity == expected)
        let shared = decide(owner(warm(distribution: ["a/*": 1, "b/*": 1]))).status
        #expect(shared.nodeAffinity == nil)
        #expect(shared.shares?.map(\.glob) == ["a/*", "b/*"])
        #expect(Set(shared.shares?.map(\.label) ?? []).count == 2)
    }

    @Test("V10: pods may start before the data is there: the label comes with the choice of the node")
    func labelsComeFirst() throws {
        let status = decide(owner(warm(replicas: 1))).status
        let entry = try #require(status.nodes?.first)
        let key = ObjectKey(namespace: "courses", name: "iris")
        #expect(WarmLabels.wanted(entry, of: key) == ["warm.millrace.dev/courses.iris": "warming"])
        var done = entry
        done.phase = .warm
        #expect(WarmLabels.wanted(done, of: key) == ["warm.millrace.dev/courses.iris": "warm"])
        done.globs = ["x", "y"]
        #expect(WarmLabels.wanted(done, of: key).count == 2)
    }

    @Test func anotherBootViewOrScheduleIsLookedAtAgain() throws {
        var me = owner(warm(replicas: 1))
        let one = nodes(node("a"))
        let begun = decide(me, nodes: one)
        me.status = begun.status
        me.status = decide(me, nodes: one, pods: [pod(names(begun, me)[0], "Succeeded", message: "{}")]).status
        #expect(decide(me, nodes: one).creations.isEmpty)
        #expect(decide(me, nodes: nodes(node("a", boot: "b2"))).creations.count == 1)
        #expect(decide(me, nodes: one, view: "w").creations.count == 1)
        #expect(decide(me, nodes: one, run: "2027-01-01T00:00:00Z").creations.count == 1)
    }

    @Test func podsThatNobodyWantsGo() {
        let decision = decide(owner(warm(replicas: 0)), pods: [pod("warm-iris-old", "Running")])
        #expect(decision.deletions.map(\.key.name) == ["warm-iris-old"])
        #expect(decision.status.phase == .completed && decision.status.nodes?.isEmpty == true)
    }

    @Test("V5: the condition says how many nodes are missing and what to do")
    func tooFewNodesIsTold() {
        let decision = decide(owner(warm(replicas: 5)))
        #expect(decision.status.phase == .failed && decision.reason == "TooFewNodes")
        #expect(decision.status.message?.contains("asks for 5 nodes, but only 2 match") == true)
        #expect(decision.creations.count == 2)
    }

    @Test func aPodHasNoRightsAndNoSecrets() throws {
        let me = owner(warm(distribution: ["train/*": 1]))
        let begun = decide(me)
        let creation = try #require(begun.creations.first)
        let made = WarmPods.make(
            creation.node, attempt: creation.attempt, for: me, claim: "c", mount: nil, WarmPodSettings())
        let container = try #require(made.spec?.containers.first)
        #expect(container.command?.starts(with: ["millrace", "warm", "/data", "--glob", "train/*"]) == true)
        #expect(made.spec?.automountServiceAccountToken == false)
        #expect(made.spec?.securityContext?.runAsNonRoot == true)
        #expect(container.securityContext?.readOnlyRootFilesystem == true)
        #expect(made.metadata.ownerReferences?.first?.uid == "u")
        #expect((made.metadata.name ?? "").utf8.count <= 63)
    }

    @Test func aDatasetLoadEndsOnce() {
        var load = DatasetLoad(
            metadata: ObjectMeta(name: "l", namespace: "courses"),
            spec: decoded(["dataset": "iris", "globs": ["a/*"], "replicas": 1]))
        load.metadata.uid = "l-uid"
        var me = WarmOwner(load)
        let begun = decide(me)
        #expect(begun.status.shares == nil && begun.creations.count == 1)
        let name = names(begun, me)[0]
        me.status = begun.status
        let done = decide(me, pods: [pod(name, "Succeeded", message: "{}")])
        #expect(done.status.phase == .completed)
        // One that fails for good says so.
        me.status = begun.status
        var now = start
        for _ in 1...3 {
            me.status = decide(me, now: now).status
            me.status = decide(me, pods: [pod(name, "Failed", message: "no")], now: now).status
            now += 4000
        }
        #expect(me.status?.phase == .failed)
        #expect(decide(me, now: now).creations.isEmpty)
    }
}
