import FoundationEssentials
import Kubernetes
import KubernetesTestSupport
import Testing

@testable import Controller

@Suite struct DatasetStatusTests {
    let server: APIServer
    let probe = ScriptedProbe()
    init() throws {
        server = try APIServer.cluster()
        server.add(dataset: "iris")
    }

    /// Looks at the source once and writes the status.
    private func observe() async -> JSON {
        let box = Box()
        let stepper = Stepper(server) { client in
            let observer = SourceObserver(client: client, probe: probe, logger: quiet)
            box.observer = observer
            return observer
        }
        await stepper.settle()
        _ = await box.observer!.observe(ObjectKey(namespace: "courses", name: "iris"))
        _ = await stepper.reconciler.reconcile(.dataset(ObjectKey(namespace: "courses", name: "iris")))
        return server.object(Dataset.resource, "iris", namespace: "courses")!
    }

    private final class Box: @unchecked Sendable { var observer: SourceObserver? }

    private func addSecret(_ data: JSON) {
        server.create(Secret.resource, ["metadata": ["name": "keys"], "stringData": data], namespace: "courses")
    }

    @Test func aSourceThatAnswersIsReadyAndCounted() async {
        addSecret(["AWS_ACCESS_KEY_ID": "id\n", "AWS_SECRET_ACCESS_KEY": "secret"])
        let dataset = await observe()
        for type in ["SourceReachable", "CredentialsValid", "Ready"] {
            #expect(dataset.condition(type)?["status"] == "True")
        }
        #expect(dataset.at("status", "objects") == 3)
        #expect(dataset.at("status", "bytes") == 300)
        #expect(dataset.at("status", "observedGeneration") == 1)
        // The newline of an `echo` isn't part of the key.
        #expect(probe.lastKey == "id")
    }

    @Test func countingNeverBlocksReady() async {
        addSecret(["accessKeyID": "id", "secretAccessKey": "secret"])
        probe.script { $0.count = nil }
        let dataset = await observe()
        #expect(dataset.condition("Ready")?["status"] == "True")
        #expect(dataset.at("status", "objects") == nil)
    }

    @Test func aMissingSecretIsNamed() async {
        let dataset = await observe()
        #expect(dataset.condition("CredentialsValid")?["reason"] == "SecretMissing")
        #expect(
            dataset.condition("CredentialsValid")?["message"]
                == "Secret courses/keys of spec.secretRef isn't there; create it.")
        #expect(dataset.condition("Ready")?["status"] == "False")
        #expect(probe.asked == 0)
    }

    @Test func aSecretWithUnknownKeysIsToldWithoutItsValues() async {
        addSecret(["user": "hunter", "password": "hunter2"])
        let message = await observe().condition("CredentialsValid")?["message"]?.string ?? ""
        #expect(message.contains("[password, user]") && message.contains("accessKeyID"))
        #expect(!message.contains("hunter"))
    }

    @Test func aSecretThatMayNotBeReadLeavesTheDatasetReady() async {
        server.inject(Fault(verb: "get", resource: "secrets", .status(403, reason: "Forbidden"), count: 100))
        let dataset = await observe()
        #expect(dataset.condition("CredentialsValid")?["status"] == "Unknown")
        #expect(dataset.condition("Ready")?["status"] == "True")
    }

    @Test(arguments: [
        (Observation.Finding.denied("no"), "CredentialsValid", "Denied"),
        (.noBucket("no"), "SourceReachable", "NoBucket"),
        (.unreachable("no"), "SourceReachable", "Unreachable"),
    ]) func whatIsWrongIsSaidByTheRightCondition(_ finding: Observation.Finding, _ type: String, _ reason: String) async
    {
        addSecret(["accessKeyID": "id", "secretAccessKey": "secret"])
        probe.script { $0.finding = finding }
        let dataset = await observe()
        #expect(dataset.condition(type)?["status"] == "False")
        #expect(dataset.condition(type)?["reason"] == .string(reason))
        #expect(dataset.condition("Ready")?["reason"] == .string(reason))
    }

    @Test func transitionTimesMoveOnlyWithTheStatus() throws {
        var dataset = Dataset(
            metadata: ObjectMeta(name: "d", namespace: "n"),
            spec: Dataset.Spec(source: Dataset.Source(s3: Dataset.S3Source(bucket: "b"))))
        func status(_ finding: Observation.Finding, _ now: String) -> Dataset.Status {
            DatasetStatus.make(
                for: dataset, observation: Observation(finding, generation: nil),
                consumers: Dataset.Consumers(volumes: 0, namespaces: 0), publishing: nil, now: now)
        }
        dataset.status = status(.unreachable("first"), "t1")
        dataset.status = status(.unreachable("second"), "t2")
        let ready = try #require(dataset.status?.conditions?.first { $0.type == "Ready" })
        #expect(ready.message == "second" && ready.lastTransitionTime == "t1")
        dataset.status = status(.reachable, "t3")
        #expect(dataset.status?.conditions?.first { $0.type == "Ready" }?.lastTransitionTime == "t3")
    }

    @Test func credentialsShowNowhere() throws {
        let credentials = try SourceCredentials(
            secret: ["accessKeyID": "AKIA", "secretAccessKey": "s3cr3t"], named: "x")
        #expect(!"\(credentials)".contains("s3cr3t"))
        var dumped = ""
        dump(credentials, to: &dumped)
        #expect(!dumped.contains("s3cr3t") && !dumped.contains("AKIA"))
    }
}
