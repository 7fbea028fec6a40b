import Kubernetes
import KubernetesTestSupport
import Testing

@Suite struct FinalizerTests {
    let server = APIServer()

    private func finalizers(_ name: String) -> [String]? {
        server.object(PersistentVolumeClaim.resource, name, namespace: "default")?.at("metadata", "finalizers")?.array?
            .compactMap(\.string).sorted()
    }

    @Test func allOfOursGoAndTheOthersStay() async throws {
        let client = Client(server)
        for (name, ours) in [("two", ["ours.dev/a", "ours.dev/b"]), ("one", ["ours.dev/a"]), ("none", [])] {
            var new = claim(name)
            new.metadata.finalizers = ["kubernetes.io/pvc-protection", "theirs.dev/ours.dev/c"] + ours
            try await client.create(new)
        }
        // Somebody changes one of them at the same time.
        server.inject(
            Fault(verb: "patch", resource: "persistentvolumeclaims", .status(409, reason: "Conflict"), count: 1))
        #expect(try await client.removeFinalizers(beginningWith: "ours.dev/", from: PersistentVolumeClaim.self) == 2)
        for name in ["two", "one", "none"] {
            #expect(finalizers(name) == ["kubernetes.io/pvc-protection", "theirs.dev/ours.dev/c"])
        }
        #expect(try await client.removeFinalizers(beginningWith: "ours.dev/", from: PersistentVolumeClaim.self) == 0)
    }

    @Test func whatIsBeingDeletedGoes() async throws {
        let client = Client(server)
        var new = claim("held")
        new.metadata.finalizers = ["ours.dev/a"]
        try await client.create(new)
        try await client.delete(PersistentVolumeClaim.self, "held", namespace: "default")
        while server.step() {}
        #expect(finalizers("held") == ["ours.dev/a"])
        _ = try await client.removeFinalizers(beginningWith: "ours.dev/", from: PersistentVolumeClaim.self)
        #expect(server.object(PersistentVolumeClaim.resource, "held", namespace: "default") == nil)
    }

    @Test func aKindThatIsNotServedHasNone() async throws {
        #expect(try await Client(server).removeFinalizers(beginningWith: "ours.dev/", from: Nowhere.self) == 0)
    }

    private struct Nowhere: KubernetesObject {
        static let resource = Resource(
            group: "ours.dev", version: "v1", plural: "nowheres", kind: "Nowhere", isNamespaced: true)
        var metadata: ObjectMeta
    }
}
