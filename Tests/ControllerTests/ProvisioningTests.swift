import Kubernetes
import KubernetesTestSupport
import Testing

@testable import Controller

@Suite struct ProvisioningTests {
    let server: APIServer
    init() throws { server = try APIServer.cluster() }

    private func settled() async -> Stepper {
        let stepper = Stepper(server)
        await stepper.settle()
        return stepper
    }

    @Test func aClaimOfAClassThatNamesADatasetIsBound() async throws {
        server.add(dataset: "iris", ["allowedNamespaces": ["from": "All"]])
        server.add(claim: "data", in: "team-a", class: "course")
        _ = await settled()
        #expect(server.phase("data", "team-a") == "Bound")
        let volume = try #require(server.volume(of: "data", "team-a"))
        let csi = try #require(volume.at("spec", "csi"))
        #expect(csi["driver"] == "s3.csi.millrace.dev")
        #expect(csi["readOnly"] == true)
        #expect(csi["nodePublishSecretRef"] == ["name": "keys", "namespace": "courses"])
        let attributes: JSON = [
            "bucket": "bkt", "prefix": "p/", "endpoint": "http://127.0.0.1:9", "millrace.dev/dataset": "courses/iris",
            "millrace.dev/allowedNamespaces": "team-a", "metadataTTL": "60",
        ]
        #expect(csi["volumeAttributes"] == attributes)
        #expect(volume.at("spec", "claimRef", "uid") == server.claim("data", "team-a")?.at("metadata", "uid"))
        #expect(volume.at("spec", "persistentVolumeReclaimPolicy") == "Delete")
        #expect((csi["volumeHandle"]?.string ?? "").utf8.count <= 128)
    }

    @Test func anAnnotationChoosesTheDatasetAndASubPath() async throws {
        server.add(dataset: "iris", ["allowedNamespaces": ["from": "All"]])
        server.add(
            claim: "data", in: "team-a", class: "millrace",
            annotated("courses/iris", ["millrace.dev/sub-path": "2026/q1"]))
        _ = await settled()
        let attributes = server.volume(of: "data", "team-a")?.at("spec", "csi", "volumeAttributes")
        #expect(attributes?["prefix"] == "p/2026/q1/")
    }

    @Test func plainParametersNeedNoDataset() async {
        server.add(class: "plain", ["bucket": "public", "anonymous": "true", "allowedNamespaces": "team-a"])
        server.add(claim: "data", in: "team-a", class: "plain")
        server.add(claim: "data", in: "team-b", class: "plain")
        _ = await settled()
        #expect(server.volume(of: "data", "team-a")?.at("spec", "csi", "volumeAttributes", "anonymous") == "true")
        #expect(server.phase("data", "team-b") == "Pending")
        #expect(server.events(about: "data").contains { $0.contains("isn't for namespace team-b") })
    }

    @Test func firstConsumerClassesWaitForAPod() async {
        server.add(class: "late", ["dataset": "courses/iris"], binding: "WaitForFirstConsumer")
        server.add(dataset: "iris", ["allowedNamespaces": ["from": "All"]])
        server.add(claim: "data", in: "team-a", class: "late")
        let stepper = await settled()
        #expect(server.phase("data", "team-a") == "Pending")
        #expect(server.events(about: "data").isEmpty)
        server.add(pod: "p", in: "team-a", claim: "data")
        await stepper.settle()
        #expect(server.phase("data", "team-a") == "Bound")
    }

    @Test func writingModesAreTakenAndMountedReadOnlyOrRefused() async {
        server.add(dataset: "iris", ["allowedNamespaces": ["from": "All"]])
        server.add(class: "strict", ["dataset": "courses/iris", "writableClaims": "refuse"])
        let writable: JSON = ["spec": ["accessModes": ["ReadWriteMany"]]]
        server.add(claim: "ok", in: "team-a", class: "course", writable)
        server.add(claim: "no", in: "team-a", class: "strict", writable)
        _ = await settled()
        #expect(server.phase("ok", "team-a") == "Bound")
        #expect(server.volume(of: "ok", "team-a")?.at("spec", "csi", "readOnly") == true)
        #expect(server.phase("no", "team-a") == "Pending")
        #expect(server.events(about: "no").contains { $0.hasPrefix("AccessMode: spec.accessModes: ReadWriteMany") })
    }

    @Test func aRefusedClaimIsRetriedWhenTheDatasetOrTheGrantComes() async {
        server.add(claim: "data", in: "team-a", class: "course")
        let stepper = await settled()
        #expect(server.phase("data", "team-a") == "Pending")
        #expect(server.events(about: "data").contains { $0.hasPrefix("NotAllowed: Dataset courses/iris") })
        server.add(dataset: "iris")
        await stepper.settle()
        #expect(server.phase("data", "team-a") == "Pending")
        server.patch(
            Dataset.resource, "iris", namespace: "courses",
            ["spec": ["allowedNamespaces": ["from": "Selector", "selector": ["matchLabels": ["team": "a"]]]]])
        await stepper.settle()
        #expect(server.phase("data", "team-a") == "Bound")
    }

    @Test func deletingAClaimDeletesItsVolumeAndNothingElse() async {
        server.add(dataset: "iris", ["allowedNamespaces": ["from": "All"]])
        server.add(claim: "data", in: "team-a", class: "course")
        let stepper = await settled()
        server.delete(PersistentVolumeClaim.resource, "data", namespace: "team-a")
        await stepper.settle()
        #expect(server.objects(PersistentVolume.resource).isEmpty)
        #expect(server.object(Dataset.resource, "iris", namespace: "courses") != nil)
    }

    /// That the volume is Released may be known before its claim's end is: then that end must lead back to it.
    @Test func theEndOfAClaimIsNewsForTheVolumeThatItNames() {
        var claim = PersistentVolumeClaim(
            metadata: ObjectMeta(name: "c", namespace: "courses"), spec: PersistentVolumeClaim.Spec())
        claim.metadata.uid = "u"
        claim.spec.volumeName = "millrace-warm-1"
        let volume = PersistentVolume(
            metadata: ObjectMeta(name: "millrace-warm-1"), spec: PersistentVolume.Spec())
        var tables = Tables()
        _ = tables.updated(claim)
        _ = tables.updated(volume)
        #expect(tables.removed(claim).contains(.volume("millrace-warm-1")))
    }

    @Test func aReleasedVolumeWithPolicyRetainIsKept() async {
        server.create(
            StorageClass.resource,
            [
                "metadata": ["name": "keep"], "provisioner": .string(Names.defaultDriver), "reclaimPolicy": "Retain",
                "parameters": ["dataset": "courses/iris"],
            ])
        server.add(dataset: "iris", ["allowedNamespaces": ["from": "All"]])
        server.add(claim: "data", in: "team-a", class: "keep")
        let stepper = await settled()
        server.delete(PersistentVolumeClaim.resource, "data", namespace: "team-a")
        await stepper.settle()
        #expect(server.objects(PersistentVolume.resource).map { $0.at("status", "phase") } == ["Released"])
    }

    @Test func anotherSourceMakesTheVolumeAnewUnderItsName() async {
        server.add(dataset: "iris", ["allowedNamespaces": ["from": "All"]])
        server.add(claim: "data", in: "team-a", class: "course")
        let stepper = await settled()
        let name = server.claim("data", "team-a")?.at("spec", "volumeName")
        server.patch(
            Dataset.resource, "iris", namespace: "courses",
            ["spec": ["source": ["s3": ["endpoint": "http://10.0.0.1"]]]])
        await stepper.settle()
        #expect(server.phase("data", "team-a") == "Bound")
        #expect(server.claim("data", "team-a")?.at("spec", "volumeName") == name)
        #expect(
            server.volume(of: "data", "team-a")?.at("spec", "csi", "volumeAttributes", "endpoint") == "http://10.0.0.1")
    }

    @Test func volumesOfOthersAreLeftAlone() async {
        let volume: JSON = [
            "metadata": [
                "name": "static", "annotations": ["pv.kubernetes.io/provisioned-by": .string(Names.defaultDriver)],
            ],
            "spec": [
                "capacity": ["storage": "1Gi"], "accessModes": ["ReadOnlyMany"], "storageClassName": "",
                "persistentVolumeReclaimPolicy": "Delete",
                "csi": ["driver": .string(Names.defaultDriver), "volumeHandle": "by-hand"],
                "claimRef": ["namespace": "team-a", "name": "data"],
            ],
        ]
        server.create(PersistentVolume.resource, volume)
        server.add(claim: "data", in: "team-a", class: "")
        let stepper = await settled()
        #expect(server.phase("data", "team-a") == "Bound")
        server.delete(PersistentVolumeClaim.resource, "data", namespace: "team-a")
        await stepper.settle()
        #expect(server.object(PersistentVolume.resource, "static") != nil)
    }

    @Test(
        arguments: [
            (#"{"spec": {"volumeMode": "Block"}}"#, "BlockMode: spec.volumeMode"),
            (#"{"spec": {"volumeAttributesClassName": "fast"}}"#, "AttributesClass: spec.volumeAttributesClassName"),
            (#"{"spec": {"selector": {"matchLabels": {"a": "b"}}}}"#, "Selector: spec.selector"),
            (#"{"spec": {"dataSourceRef": {"kind": "X", "name": "y"}}}"#, "DataSource: spec.dataSource"),
            (
                #"{"metadata": {"annotations": {"millrace.dev/sub-path": "../x"}}}"#,
                "SubPath: annotation millrace.dev/sub-path"
            ),
            (#"{"metadata": {"annotations": {"millrace.dev/sub-path": "/etc"}}}"#, "it must not begin with a slash"),
            (
                #"{"metadata": {"annotations": {"millrace.dev/dataset": "a/b/c"}}}"#,
                "DatasetMissing: annotation millrace.dev/dataset"
            ),
        ] as [(String, String)]) func badClaimsAreToldWhichFieldIsWrong(_ extra: String, _ expected: String)
        async throws
    {
        server.add(dataset: "iris", ["allowedNamespaces": ["from": "All"]])
        server.add(
            claim: "data", in: "team-a", class: "millrace",
            annotated("courses/iris").merged(with: try JSON(parsing: extra)))
        _ = await settled()
        #expect(server.phase("data", "team-a") == "Pending")
        let events = server.events(about: "data")
        #expect(events.contains { $0.contains(expected) }, "\(events)")
    }

    @Test func aClassWithBadParametersIsToldToItsClaimsAndRepaired() async {
        server.add(class: "typo", ["dataset": "courses/iris", "colour": "red"])
        server.add(dataset: "iris", ["allowedNamespaces": ["from": "All"]])
        server.add(claim: "data", in: "team-a", class: "typo")
        let stepper = await settled()
        #expect(
            server.events(about: "data").contains { $0.contains("StorageClass typo: parameter colour isn't known") })
        server.delete(StorageClass.resource, "typo")
        server.add(class: "typo", ["dataset": "courses/iris"])
        await stepper.settle()
        #expect(server.phase("data", "team-a") == "Bound")
    }

    @Test func aMissingSubPathIsSaidAndFoundLater() async throws {
        server.add(
            dataset: "iris",
            ["allowedNamespaces": ["from": "All"], "secretRef": .null, "source": ["s3": ["anonymous": true]]])
        server.add(
            claim: "data", in: "team-a", class: "millrace", annotated("courses/iris", ["millrace.dev/sub-path": "none"])
        )
        let probe = ScriptedProbe()
        let stepper = Stepper(server) { client in SourceObserver(client: client, probe: probe, logger: quiet) }
        probe.script { $0.exists = false }
        await stepper.settle()
        #expect(server.phase("data", "team-a") == "Pending")
        #expect(server.events(about: "data").contains("SubPathMissing: there is nothing below p/none/ in bucket bkt"))
        probe.script { $0.exists = true }
        // Any change of the claim, or the retry a minute later, looks again.
        server.patch(PersistentVolumeClaim.resource, "data", namespace: "team-a", ["metadata": ["labels": ["x": "y"]]])
        await stepper.settle()
        #expect(server.phase("data", "team-a") == "Bound")
    }
}
