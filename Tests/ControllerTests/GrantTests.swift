import Kubernetes
import KubernetesTestSupport
import Testing

@testable import Controller

/// `docs/security.md` names these tests: each holds against one threat.
@Suite struct GrantTests {
    let server: APIServer
    init() throws { server = try APIServer.cluster() }

    private func bound(_ stepper: Stepper? = nil) async -> Stepper {
        let stepper = stepper ?? Stepper(server)
        await stepper.settle()
        return stepper
    }

    @Test func withoutAGrantOnlyTheOwnersNamespaceReads() async {
        server.add(dataset: "iris")
        server.add(claim: "own", in: "courses", class: "millrace", annotated("iris"))
        server.add(claim: "other", in: "team-a", class: "millrace", annotated("courses/iris"))
        _ = await bound()
        #expect(server.phase("own", "courses") == "Bound")
        #expect(server.phase("other", "team-a") == "Pending")
    }

    @Test func aRefusalDoesNotTellWhetherTheDatasetExists() async {
        server.add(dataset: "iris")
        server.add(claim: "real", in: "team-a", class: "millrace", annotated("courses/iris"))
        server.add(claim: "fake", in: "team-a", class: "millrace", annotated("courses/none"))
        _ = await bound()
        let real = server.events(about: "real").map { $0.replacing("courses/iris", with: "X") }
        let fake = server.events(about: "fake").map { $0.replacing("courses/none", with: "X") }
        #expect(!real.isEmpty && real == fake)
    }

    @Test func aClassThatDoesNotPermitTheAnnotationIgnoresIt() async {
        server.add(dataset: "iris", ["allowedNamespaces": ["from": "All"]])
        server.add(dataset: "secret", in: "courses", ["allowedNamespaces": ["from": "All"]])
        server.add(claim: "data", in: "team-a", class: "course", annotated("courses/secret"))
        _ = await bound()
        let attributes = server.volume(of: "data", "team-a")?.at("spec", "csi", "volumeAttributes")
        #expect(attributes?["millrace.dev/dataset"] == "courses/iris")
    }

    @Test func aClaimCannotTakeAnothersVolumeByName() async {
        server.add(
            dataset: "iris", ["allowedNamespaces": ["from": "Selector", "selector": ["matchLabels": ["team": "a"]]]])
        server.add(claim: "data", in: "team-a", class: "course")
        let stepper = await bound()
        let volume = server.claim("data", "team-a")!.at("spec", "volumeName")!
        server.add(claim: "thief", in: "team-b", class: "course", ["spec": ["volumeName": volume]])
        _ = await bound(stepper)
        #expect(server.phase("thief", "team-b") == "Pending")
        // Also not after its owner has gone: the volume goes with the claim.
        server.delete(PersistentVolumeClaim.resource, "data", namespace: "team-a")
        _ = await bound(stepper)
        #expect(server.phase("thief", "team-b") == "Pending")
        #expect(server.objects(PersistentVolume.resource).isEmpty)
    }

    @Test func aRecreatedClaimOfTheSameNameGetsAVolumeOfItsOwn() async {
        server.add(dataset: "iris", ["allowedNamespaces": ["from": "All"]])
        server.add(claim: "data", in: "team-a", class: "course")
        let stepper = await bound()
        let first = server.claim("data", "team-a")?.at("spec", "volumeName")
        server.delete(PersistentVolumeClaim.resource, "data", namespace: "team-a")
        while server.step() {}
        server.add(claim: "data", in: "team-a", class: "course")
        _ = await bound(stepper)
        #expect(server.phase("data", "team-a") == "Bound")
        #expect(server.claim("data", "team-a")?.at("spec", "volumeName") != first)
        #expect(server.objects(PersistentVolume.resource).count == 1)
    }

    @Test func theSecretIsTheOwnersWhateverTheClaimSays() async {
        server.add(dataset: "iris", ["allowedNamespaces": ["from": "All"]])
        server.add(
            claim: "data", in: "team-a", class: "millrace",
            annotated(
                "courses/iris",
                [
                    "csi.storage.k8s.io/node-publish-secret-name": "stolen", "secretName": "stolen",
                    "millrace.dev/secret": "kube-system/admin",
                ]))
        _ = await bound()
        #expect(
            server.volume(of: "data", "team-a")?.at("spec", "csi", "nodePublishSecretRef")
                == ["name": "keys", "namespace": "courses"])
    }

    @Test func templatesInClassesAreRefused() {
        let error = #expect(throws: Refusal.self) {
            try ClassParameters(
                ["bucket": "b", "secretName": "${pvc.name}", "secretNamespace": "${pvc.namespace}"],
                of: "StorageClass x")
        }
        #expect(error?.message.contains("templates") == true)
    }

    @Test func aSubPathStaysBelowTheClassesOwn() async {
        server.add(class: "part", ["dataset": "courses/iris", "subPath": "open", "subPathAnnotation": "true"])
        server.add(dataset: "iris", ["allowedNamespaces": ["from": "All"]])
        server.add(
            claim: "data", in: "team-a", class: "part", ["metadata": ["annotations": ["millrace.dev/sub-path": "x"]]])
        for (i, path) in ["../closed", "a/../../closed", "/closed", "a//b", "."].enumerated() {
            server.add(
                claim: "bad\(i)", in: "team-a", class: "part",
                ["metadata": ["annotations": ["millrace.dev/sub-path": .string(path)]]])
        }
        _ = await bound()
        #expect(server.volume(of: "data", "team-a")?.at("spec", "csi", "volumeAttributes", "prefix") == "p/open/x/")
        for i in 0..<5 { #expect(server.phase("bad\(i)", "team-a") == "Pending") }
    }

    @Test func revokingTakesTheVolumeAwayAndGrantingBringsItBack() async {
        server.add(dataset: "iris", ["allowedNamespaces": ["from": "All"]])
        server.add(claim: "data", in: "team-a", class: "course")
        let stepper = await bound()
        server.add(pod: "runs", in: "team-a", claim: "data")
        server.patch(Dataset.resource, "iris", namespace: "courses", ["spec": ["allowedNamespaces": ["from": "Same"]]])
        _ = await bound(stepper)
        // New pods: the kubelet finds no volume. The pod that runs is left alone (Drain).
        #expect(server.phase("data", "team-a") == "Lost")
        #expect(server.objects(PersistentVolume.resource).isEmpty)
        #expect(server.object(Pod.resource, "runs", namespace: "team-a") != nil)
        #expect(server.events(about: "data").contains { $0.hasPrefix("NotAllowed") })
        server.patch(Dataset.resource, "iris", namespace: "courses", ["spec": ["allowedNamespaces": ["from": "All"]]])
        _ = await bound(stepper)
        #expect(server.phase("data", "team-a") == "Bound")
    }

    @Test func immediateRevocationEndsPodsWhereTheControllerMay() async throws {
        for mayEvict in [true, false] {
            let server = try APIServer.cluster()
            server.add(dataset: "iris", ["allowedNamespaces": ["from": "All"], "revocation": "Immediate"])
            server.add(claim: "data", in: "team-a", class: "course")
            let stepper = Stepper(server, allowsEviction: mayEvict)
            await stepper.settle()
            server.add(pod: "reader", in: "team-a", claim: "data")
            server.add(pod: "stranger", in: "team-a", claim: "own")
            server.patch(
                Dataset.resource, "iris", namespace: "courses", ["spec": ["allowedNamespaces": ["from": "Same"]]])
            await stepper.settle()
            #expect((server.object(Pod.resource, "reader", namespace: "team-a") == nil) == mayEvict)
            #expect(server.object(Pod.resource, "stranger", namespace: "team-a") != nil)
            #expect(server.phase("data", "team-a") == "Lost")
        }
    }

    @Test func aNamespaceThatLosesItsLabelLosesTheData() async {
        server.add(
            dataset: "iris", ["allowedNamespaces": ["from": "Selector", "selector": ["matchLabels": ["team": "a"]]]])
        server.add(claim: "data", in: "team-a", class: "course")
        let stepper = await bound()
        #expect(server.phase("data", "team-a") == "Bound")
        server.patch(Namespace.resource, "team-a", ["metadata": ["labels": ["team": "x"]]])
        _ = await bound(stepper)
        #expect(server.phase("data", "team-a") == "Lost")
    }

    @Test func deletingTheDatasetTakesItsVolumesAndNoData() async {
        server.add(dataset: "iris", ["allowedNamespaces": ["from": "All"]])
        server.add(claim: "data", in: "team-a", class: "course")
        let stepper = await bound()
        server.delete(Dataset.resource, "iris", namespace: "courses")
        _ = await bound(stepper)
        #expect(server.phase("data", "team-a") == "Lost")
        // Nothing that the controller called could touch S3: only the API server was asked at all.
        #expect(server.newestCalls.allSatisfy { $0.contains(" /api") })
    }

    @Test func anEmptySelectorGrantsAllAndAMissingOneNothing() {
        var dataset = Dataset(
            metadata: ObjectMeta(name: "d", namespace: "own"), spec: Dataset.Spec(source: Dataset.Source(s3: nil)))
        let stranger = Namespace(metadata: ObjectMeta(name: "x"))
        dataset.spec.allowedNamespaces = Dataset.AllowedNamespaces(from: "Selector", selector: nil)
        #expect(!dataset.allows(stranger))
        dataset.spec.allowedNamespaces = Dataset.AllowedNamespaces(from: "Selector", selector: LabelSelector())
        #expect(dataset.allows(stranger))
        dataset.spec.allowedNamespaces = Dataset.AllowedNamespaces(from: "Everyone")
        #expect(!dataset.allows(stranger))
        dataset.spec.allowedNamespaces = nil
        #expect(!dataset.allows(stranger))
        #expect(dataset.allows(Namespace(metadata: ObjectMeta(name: "own"))))
    }
}
