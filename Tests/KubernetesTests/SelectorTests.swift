import Kubernetes
import Testing

@Suite struct SelectorTests {
    @Test func everyRequirementMustHold() {
        let selector = LabelSelector(
            matchLabels: ["team": "ml"],
            matchExpressions: [
                LabelSelector.Requirement(key: "env", operator: "In", values: ["dev", "prod"]),
                LabelSelector.Requirement(key: "closed", operator: "DoesNotExist"),
                LabelSelector.Requirement(key: "tier", operator: "NotIn", values: ["gold"]),
                LabelSelector.Requirement(key: "name", operator: "Exists"),
            ])
        let good = ["team": "ml", "env": "dev", "name": "x"]
        #expect(selector.matches(good))
        for (key, value) in [("team", "web"), ("env", "test"), ("closed", ""), ("tier", "gold")] {
            #expect(!selector.matches(good.merging([key: value]) { $1 }))
        }
        #expect(!selector.matches(good.filter { $0.key != "name" }))
        #expect(!selector.matches(nil))
    }

    @Test func emptySelectsAllAndUnknownOperatorsNothing() {
        #expect(LabelSelector().matches(nil))
        #expect(
            !LabelSelector(matchExpressions: [LabelSelector.Requirement(key: "a", operator: "Near", values: ["b"])])
                .matches(["a": "b"]))
    }
}
