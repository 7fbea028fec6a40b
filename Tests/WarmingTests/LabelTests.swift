import Controller
import Kubernetes
import Testing

@testable import Warming

@Suite struct LabelTests {
    @Test func labelsKeepKubernetesLimits() {
        let long = ObjectKey(
            namespace: String(repeating: "n", count: 63), name: String(repeating: "d.", count: 126) + "d")
        for (dataset, glob) in [(ObjectKey(namespace: "courses", name: "iris"), nil), (long, nil), (long, "train/*")] {
            let parts = WarmLabels.key(dataset, glob: glob).split(separator: "/")
            #expect(parts.count == 2 && parts[0] == "warm.millrace.dev")
            #expect(parts[1].utf8.count <= 63)
            #expect(parts[1].allSatisfy { $0.isLetter || $0.isNumber || "-_.".contains($0) })
            #expect(parts[1].last!.isLetter || parts[1].last!.isNumber)
        }
        #expect(WarmLabels.key(ObjectKey(namespace: "courses", name: "iris")) == "warm.millrace.dev/courses.iris")
    }

    @Test func noTwoDatasetsShareALabel() {
        let tail = String(repeating: "x", count: 200)
        let keys = [
            WarmLabels.key(ObjectKey(namespace: "a", name: "b.c")),
            WarmLabels.key(ObjectKey(namespace: "a", name: "b")),
            WarmLabels.key(ObjectKey(namespace: "a", name: "b"), glob: "c"),
            WarmLabels.key(ObjectKey(namespace: "a", name: "b"), glob: "d"),
            WarmLabels.key(ObjectKey(namespace: "a", name: tail + "1")),
            WarmLabels.key(ObjectKey(namespace: "a", name: tail + "2")),
        ]
        #expect(Set(keys).count == keys.count)
        let marked: ClusterNode = decoded(
            node("n", labels: Dictionary(keys.map { ($0, "warm") }) { $1 }))
        #expect(WarmLabels.keys(of: ObjectKey(namespace: "a", name: "b"), on: marked) == Array(keys[1...3]).sorted())
        #expect(WarmLabels.keys(of: ObjectKey(namespace: "a", name: "b.c"), on: marked) == [keys[0]])
    }
}
