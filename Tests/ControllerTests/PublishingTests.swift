import Kubernetes
import KubernetesTestSupport
import Testing

@testable import Controller

@Suite struct PublishingTests {
    let server: APIServer
    init() throws { server = try APIServer.cluster() }

    private let toStudents: JSON = [
        "publish": ["namespaceSelector": ["matchLabels": ["students": "yes"]], "claimName": "shared"]
    ]

    private func settle(_ stepper: Stepper? = nil) async -> Stepper {
        let stepper = stepper ?? Stepper(server)
        await stepper.settle()
        return stepper
    }

    @Test func aNewNamespaceGetsItsBoundClaim() async {
        server.add(dataset: "iris", toStudents)
        let stepper = await settle()
        #expect(server.objects(PersistentVolumeClaim.resource).isEmpty)
        server.add(namespace: "alice", labels: ["students": "yes"])
        server.add(namespace: "carol", labels: ["students": "no"])
        _ = await settle(stepper)
        // Publishing grants, so allowedNamespaces needn't say it again.
        #expect(server.phase("shared", "alice") == "Bound")
        #expect(server.claim("shared", "carol") == nil)
    }

    @Test func aWatchMayBeFasterThanTheAnswer() async {
        server.add(dataset: "iris", toStudents)
        let stepper = Stepper(server)
        stepper.areWatchesFaster = true
        server.add(namespace: "alice", labels: ["students": "yes"])
        _ = await settle(stepper)
        #expect(server.phase("shared", "alice") == "Bound")
    }

    @Test func theClaimGoesOnceUnusedWhenTheNamespaceStopsMatching() async {
        server.add(dataset: "iris", toStudents)
        server.add(namespace: "alice", labels: ["students": "yes"])
        let stepper = await settle()
        server.add(pod: "p", in: "alice", claim: "shared")
        server.patch(Namespace.resource, "alice", ["metadata": ["labels": ["students": .null]]])
        _ = await settle(stepper)
        #expect(server.claim("shared", "alice")?.at("metadata", "deletionTimestamp") != nil)
        server.delete(Pod.resource, "p", namespace: "alice")
        _ = await settle(stepper)
        #expect(server.claim("shared", "alice") == nil)
        #expect(server.objects(PersistentVolume.resource).isEmpty)
    }

    @Test func theClaimGoesWithTheDatasetAlsoIfThatHappenedWhileTheControllerWasDown() async {
        server.add(dataset: "iris", toStudents)
        server.add(namespace: "alice", labels: ["students": "yes"])
        _ = await settle()
        server.delete(Dataset.resource, "iris", namespace: "courses")
        _ = await settle(Stepper(server))
        #expect(server.claim("shared", "alice") == nil)
        #expect(server.objects(PersistentVolume.resource).isEmpty)
    }

    @Test func anotherNameMovesTheClaim() async {
        server.add(dataset: "iris", toStudents)
        server.add(namespace: "alice", labels: ["students": "yes"])
        let stepper = await settle()
        server.patch(Dataset.resource, "iris", namespace: "courses", ["spec": ["publish": ["claimName": "renamed"]]])
        _ = await settle(stepper)
        #expect(server.claim("shared", "alice") == nil)
        #expect(server.phase("renamed", "alice") == "Bound")
    }

    @Test func aClaimThatAPersonMadeIsNeverTouched() async throws {
        server.add(namespace: "alice", labels: ["students": "yes"])
        server.add(claim: "shared", in: "alice", class: "other")
        let uid = server.claim("shared", "alice")?.at("metadata", "uid")
        server.add(dataset: "iris", toStudents)
        let stepper = await settle()
        #expect(server.claim("shared", "alice")?.at("metadata", "uid") == uid)
        let published = server.object(Dataset.resource, "iris", namespace: "courses")?.condition("Published")
        #expect(published?["status"] == "False")
        #expect(published?["message"]?.string?.contains("isn't ours is in: alice") == true)
        // Once they remove it, ours comes.
        server.delete(PersistentVolumeClaim.resource, "shared", namespace: "alice")
        _ = await settle(stepper)
        #expect(server.phase("shared", "alice") == "Bound")
        #expect(
            server.object(Dataset.resource, "iris", namespace: "courses")?.condition("Published")?["status"] == "True")
    }

    private var published: JSON? {
        server.object(Dataset.resource, "iris", namespace: "courses")?.condition("Published")
    }

    @Test func aQuotaThatRefusesTheClaimIsSaidAndItIsTriedAgain() async {
        server.inject(
            Fault(verb: "create", resource: "persistentvolumeclaims", .status(403, reason: "Forbidden"), count: 1))
        server.add(dataset: "iris", toStudents)
        server.add(namespace: "alice", labels: ["students": "yes"])
        let stepper = Stepper(server)
        while server.claim("shared", "alice") == nil, published?["reason"] != "Refused", !stepper.queue.isEmpty {
            await stepper.work()
        }
        #expect(published?["message"]?.string?.contains("In alice it says: injected") == true)
        _ = await settle(stepper)
        #expect(server.phase("shared", "alice") == "Bound")
        #expect(published?["status"] == "True")
    }

    @Test func aMissingClassIsSaid() async {
        server.add(
            dataset: "iris", toStudents.merged(with: ["publish": ["storageClassName": "later"]]))
        let stepper = await settle()
        #expect(published?["reason"] == "ClassMissing")
        server.add(class: "later", ["datasetAnnotation": "true"])
        _ = await settle(stepper)
        #expect(published?["status"] == "True")
    }

    @Test func aCopyOfAPublishedClaimBelongsToWhoCopiedIt() async {
        server.add(dataset: "iris", toStudents)
        server.add(namespace: "alice", labels: ["students": "yes"])
        let stepper = await settle()
        let original = server.claim("shared", "alice")!
        var copy: JSON = ["metadata": ["name": "mine"], "spec": original["spec"]!]
        copy.set("spec", "volumeName", to: nil)
        copy.set("metadata", "labels", to: original.at("metadata", "labels"))
        copy.set("metadata", "annotations", "millrace.dev/dataset", to: "courses/iris")
        copy.set("metadata", "annotations", "millrace.dev/published-as", to: "alice/shared")
        server.create(PersistentVolumeClaim.resource, copy, namespace: "alice")
        server.delete(Dataset.resource, "iris", namespace: "courses")
        _ = await settle(stepper)
        #expect(server.claim("shared", "alice") == nil)
        #expect(server.claim("mine", "alice") != nil)
    }

    @Test func aNamespaceThatIsGoingGetsNothing() async {
        server.add(dataset: "iris", toStudents)
        server.add(namespace: "alice", labels: ["students": "yes"])
        let stepper = await settle()
        server.delete(Namespace.resource, "alice")
        _ = await settle(stepper)
        #expect(server.object(Namespace.resource, "alice") == nil)
        #expect(server.objects(PersistentVolume.resource).isEmpty)
    }

    @Test func consumersAreCounted() async {
        server.add(dataset: "iris", toStudents)
        for name in ["alice", "bob"] { server.add(namespace: name, labels: ["students": "yes"]) }
        server.add(claim: "second", in: "alice", class: "millrace", annotated("courses/iris"))
        _ = await settle()
        let consumers = server.object(Dataset.resource, "iris", namespace: "courses")?.at("status", "consumers")
        #expect(consumers == ["volumes": 3, "namespaces": 2])
    }
}

extension JSON {
    func condition(_ type: String) -> JSON? {
        at("status", "conditions")?.array?.first { $0["type"]?.string == type }
    }
}
