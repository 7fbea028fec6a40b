import Controller
import Kubernetes
import Testing

@testable import Warming

@Suite struct PlacementTests {
    private func place(
        _ warm: Dataset.Warm, _ nodes: [ClusterNode], current: [String: Set<String?>] = [:], now: Int = start
    ) -> Placement {
        Placement.decide(warm, nodes: nodes, current: current, seed: "u", now: now)
    }

    @Test("V5: the data goes to as many nodes as are asked for, and no others")
    func replicasAreNodes() {
        let four = nodes(node("a"), node("b"), node("c"), node("d"))
        let placement = place(warm(replicas: 3), four)
        #expect(placement.globs.count == 3 && placement.problem == nil)
        #expect(placement.globs.values.allSatisfy { $0 == [nil] })
        #expect(place(warm(), four).globs.count == 1)
        #expect(place(warm(replicas: 0), four).globs.isEmpty)
    }

    @Test("V5: more nodes than match is an error, and those that match get the data")
    func tooFewNodes() {
        let placement = place(warm(replicas: 3), nodes(node("a"), node("b", ready: false)))
        #expect(placement.problem == .tooFewNodes(wanted: 3, found: 1))
        #expect(placement.globs == ["a": [nil]])
    }

    @Test("V6: each pattern is on as many nodes as it says, on nodes of its own where there are enough")
    func distribution() {
        let four = nodes(node("a"), node("b"), node("c"), node("d"))
        let placement = place(warm(distribution: ["train/*": 3, "test/*": 1]), four)
        #expect(placement.globs.count == 4 && placement.globs.values.allSatisfy { $0.count == 1 })
        #expect(placement.globs.values.filter { $0 == ["train/*"] }.count == 3)
        // On fewer nodes, some have both.
        let packed = place(warm(replicas: 2, distribution: ["train/*": 2, "test/*": 1]), four)
        #expect(packed.globs.count == 2 && packed.problem == nil)
        #expect(packed.globs.values.filter { $0.contains("train/*") }.count == 2)
        let wrong = place(warm(replicas: 2, distribution: ["train/*": 3]), four)
        #expect(wrong.problem == .shareTooLarge(glob: "train/*", replicas: 3, nodes: 2))
        #expect(wrong.globs.count == 2)
    }

    @Test("V1: nodeAffinity and tolerations choose the nodes")
    func affinityAndTolerations() {
        let all = nodes(
            node("plain"), node("gpu", labels: ["gpu": "a100", "cores": "64"]),
            node("tainted", labels: ["gpu": "h100", "cores": "8"], taint: "gpu"), node("cordoned", cordoned: true))
        func term(_ key: String, _ op: String, _ values: [String]? = nil) -> NodeAffinity.Term {
            .init(matchExpressions: [.init(key: key, operator: op, values: values)])
        }
        func chosen(_ terms: [NodeAffinity.Term]?, _ tolerations: [Toleration]? = nil) -> Set<String> {
            let affinity = terms.map { NodeAffinity(required: $0) }
            return Set(place(warm(replicas: 4, affinity: affinity, tolerations: tolerations), all).globs.keys)
        }
        #expect(chosen(nil) == ["plain", "gpu"])
        #expect(chosen([term("gpu", "Exists")]) == ["gpu"])
        #expect(chosen([term("gpu", "Exists")], [Toleration(key: "gpu", operator: "Exists")]) == ["gpu", "tainted"])
        #expect(chosen(nil, [Toleration(operator: "Exists")]) == ["plain", "gpu", "tainted", "cordoned"])
        #expect(chosen([term("gpu", "In", ["a100", "x"])]) == ["gpu"])
        #expect(chosen([term("gpu", "NotIn", ["a100"])]) == ["plain"])
        #expect(chosen([term("gpu", "DoesNotExist")]) == ["plain"])
        #expect(chosen([term("cores", "Gt", ["32"])]) == ["gpu"])
        #expect(chosen([term("gpu", "DoesNotExist"), term("cores", "Gt", ["32"])]) == ["plain", "gpu"])
        #expect(chosen([term("gpu", "Like", ["a"])]) == [])
        #expect(chosen([.init()]) == [])
        #expect(
            chosen([.init(matchFields: [.init(key: "metadata.name", operator: "In", values: ["plain"])])]) == ["plain"])
    }

    @Test func preferredNodesComeFirst() {
        let all = nodes(node("a"), node("b"), node("c", labels: ["disk": "nvme"]), node("d"))
        var affinity = NodeAffinity()
        affinity.preferredDuringSchedulingIgnoredDuringExecution = [
            decoded([
                "weight": 10, "preference": ["matchExpressions": [["key": "disk", "operator": "Exists"]]],
            ])
        ]
        #expect(Set(place(warm(replicas: 1, affinity: affinity), all).globs.keys) == ["c"])
    }

    @Test func whatIsThereStaysThere() {
        let all = nodes(node("a"), node("b"), node("c"), node("d"))
        for name in ["a", "b", "c", "d"] {
            #expect(place(warm(replicas: 1), all, current: [name: [nil]]).globs == [name: [nil]])
        }
        // A cordon keeps new data away, not what is there.
        let cordoned = nodes(node("a", cordoned: true), node("b"))
        #expect(place(warm(replicas: 1), cordoned, current: ["a": [nil]]).globs == ["a": [nil]])
        // Fewer are asked for: some of those that have it keep it.
        let fewer = place(warm(replicas: 2), all, current: ["a": [nil], "c": [nil], "d": [nil]]).globs
        #expect(fewer.count == 2 && Set(fewer.keys).isSubset(of: ["a", "c", "d"]))
    }

    @Test("V5: a node that is gone is replaced, one that is away for a moment isn't")
    func nodesThatGo() {
        let away = nodes(node("a", ready: false, since: start), node("b"))
        #expect(place(warm(replicas: 1), away, current: ["a": [nil]], now: start + 60).globs == ["a": [nil]])
        #expect(
            place(warm(replicas: 1), away, current: ["a": [nil]], now: start + Placement.graceSeconds).globs
                == ["b": [nil]])
        #expect(place(warm(replicas: 1), nodes(node("b")), current: ["a": [nil]]).globs == ["b": [nil]])
        // It comes back: the other one keeps the data.
        #expect(place(warm(replicas: 1), nodes(node("a"), node("b")), current: ["b": [nil]]).globs == ["b": [nil]])
    }

    @Test("V6: parts that share a node for want of others part once there are")
    func partsSpreadOverNodesThatCome() {
        let wanted = warm(distribution: ["a/*": 1, "b/*": 2])
        let all = nodes(node("n1"), node("n2"), node("n3"))
        let current: [String: Set<String?>] = ["n1": ["a/*", "b/*"], "n2": ["b/*"]]
        let placement = place(wanted, all, current: current)
        #expect(placement.problem == nil)
        #expect(placement.globs == ["n1": ["a/*"], "n2": ["b/*"], "n3": ["b/*"]])
        #expect(place(wanted, all, current: placement.globs).globs == placement.globs, "and stay")
    }

    @Test func datasetsSpreadOverTheNodes() {
        let all = (0..<10).map { decoded(node("n\($0)")) as ClusterNode }
        let used = Set(
            (0..<40).flatMap {
                Placement.decide(warm(replicas: 1), nodes: all, current: [:], seed: "uid-\($0)", now: start).globs.keys
            })
        #expect(used.count > 7)
    }
}
