import Kubernetes
import KubernetesTestSupport
import Testing

/// The client against the stand-in; the expectations are what a real 1.36 server was seen to answer.
@Suite struct ClientTests {
    let server = APIServer()

    @Test func createFillsInTheServersFields() async throws {
        let client = Client(server)
        let made = try await client.create(claim("a"))
        #expect(made.metadata.uid != nil)
        #expect(made.metadata.finalizers == ["kubernetes.io/pvc-protection"])
        #expect(made.spec.volumeMode == "Filesystem")
        #expect(made.status?.phase == "Pending")
        let again = await failure { () async throws(APIError) in try await client.create(claim("a")) }
        #expect(again.isAlreadyExists)
        #expect(again.message == "persistentvolumeclaims \"a\" already exists")
    }

    @Test func replaceNeedsTheCurrentVersion() async throws {
        let client = Client(server)
        let first = try await client.create(claim("a"))
        var changed = first
        changed.metadata.labels = ["x": "1"]
        let second = try await client.replace(changed)
        #expect(second.metadata.resourceVersion != first.metadata.resourceVersion)
        let stale = await failure { () async throws(APIError) in try await client.replace(changed) }
        #expect(stale.isConflict)
        #expect(stale.message.contains("the object has been modified"))
    }

    @Test func aPatchKeepsWhatItDoesNotName() async throws {
        let client = Client(server)
        server.create(
            PersistentVolumeClaim.resource,
            [
                "metadata": ["name": "a"],
                "spec": [
                    "accessModes": ["ReadOnlyMany"], "resources": ["requests": ["storage": "1Gi"]], "unknownToUs": 7,
                ],
            ], namespace: "default")
        try await client.patch(
            PersistentVolumeClaim.self, "a", namespace: "default", merge: ["metadata": ["annotations": ["k": "v"]]])
        let object = server.object(PersistentVolumeClaim.resource, "a", namespace: "default")
        #expect(object?.at("spec", "unknownToUs") == 7)
        #expect(object?.at("metadata", "annotations", "k") == "v")
    }

    @Test func applyOwnsItsFieldsAndTakesThemBack() async throws {
        let client = Client(server)
        try await client.create(claim("a"))
        try await client.apply(
            PersistentVolumeClaim.self, "a", namespace: "default",
            fields: ["metadata": ["labels": ["x": "1", "y": "2"]]])
        try await client.patch(
            PersistentVolumeClaim.self, "a", namespace: "default", merge: ["metadata": ["labels": ["z": "3"]]])
        let last = try await client.apply(
            PersistentVolumeClaim.self, "a", namespace: "default", fields: ["metadata": ["labels": ["y": "2"]]])
        #expect(last.metadata.labels == ["y": "2", "z": "3"])
    }

    @Test func notFoundAndInvalidSayWhatIsWrong() async throws {
        let client = Client(server)
        let none = await failure { () async throws(APIError) in
            try await client.get(PersistentVolumeClaim.self, "none", namespace: "default")
        }
        #expect(none.isNotFound)
        #expect(
            none.description
                == "get persistentvolumeclaims none in default: persistentvolumeclaims \"none\" not found (NotFound, 404)"
        )
        var bad = claim("Bad_Name")
        bad.spec.accessModes = ["Nope"]
        let invalid = await failure { () async throws(APIError) in try await client.create(bad) }
        #expect(invalid.isInvalid)
        #expect(invalid.causes.count == 2)
        #expect(invalid.causes.last?.hasPrefix("spec.accessModes: Unsupported value: \"Nope\"") == true)
    }

    @Test func listsComeInPages() async throws {
        let client = Client(server)
        for i in 0..<7 { try await client.create(claim("c\(i)")) }
        server.resetCallCounts()
        let list = try await client.list(PersistentVolumeClaim.self, namespace: "default", pageSize: 3)
        #expect(list.items.map { $0.metadata.name! } == (0..<7).map { "c\($0)" })
        #expect(server.callCounts["list persistentvolumeclaims"] == 3)
    }

    @Test func deleteWaitsForFinalizersAndChecksTheUID() async throws {
        let client = Client(server)
        let made = try await client.create(claim("a"))
        let wrong = await failure { () async throws(APIError) in
            try await client.delete(PersistentVolumeClaim.self, "a", namespace: "default", uid: "other")
        }
        #expect(wrong.isConflict)
        try await client.addFinalizer("millrace.dev/x", to: made)
        try await client.delete(PersistentVolumeClaim.self, "a", namespace: "default", uid: made.metadata.uid)
        let held = try await client.get(PersistentVolumeClaim.self, "a", namespace: "default")
        #expect(held.metadata.isBeingDeleted)
        // Its protection was cleared by the cluster's own controller, as no pod uses it.
        #expect(held.metadata.finalizers == ["millrace.dev/x"])
        try await client.removeFinalizer("millrace.dev/x", from: held)
        #expect(server.object(PersistentVolumeClaim.resource, "a", namespace: "default") == nil)
    }

    @Test func aTerminatingNamespaceTakesNothingNew() async throws {
        let client = Client(server)
        server.create(Namespace.resource, ["metadata": ["name": "going"]])
        let held = try await client.create(claim("a", namespace: "going"))
        try await client.addFinalizer("millrace.dev/x", to: held)
        server.delete(Namespace.resource, "going")
        let late = await failure { () async throws(APIError) in
            try await client.create(claim("late", namespace: "going"))
        }
        #expect(late.isNamespaceTerminating)
        let rest = try await client.get(PersistentVolumeClaim.self, "a", namespace: "going")
        try await client.removeFinalizer("millrace.dev/x", from: rest)
        #expect(server.object(Namespace.resource, "going") == nil)
    }

    @Test func statusSubresourceChangesOnlyStatus() async throws {
        let client = Client(server)
        try await client.create(claim("a"))
        let after = try await client.patch(
            PersistentVolumeClaim.self, "a", namespace: "default",
            merge: ["status": ["phase": "Lost"], "metadata": ["labels": ["no": "1"]]], subresource: "status")
        #expect(after.status?.phase == "Lost")
        #expect(after.metadata.labels == nil)
        let main = try await client.patch(
            PersistentVolumeClaim.self, "a", namespace: "default", merge: ["status": ["phase": "Bound"]])
        #expect(main.status?.phase == "Lost")
    }

    @Test func failuresOnTheWayAreTyped() async throws {
        let client = Client(server)
        server.inject(Fault(verb: "get", .status(503, reason: "ServiceUnavailable")))
        let busy = await failure { () async throws(APIError) in try await client.get(Namespace.self, "default") }
        #expect(busy.code == 503)
        server.inject(Fault(verb: "create", resource: "persistentvolumeclaims", .lostAnswer))
        let lost = await failure { () async throws(APIError) in try await client.create(claim("a")) }
        #expect(lost.reason == "Network")
        #expect(server.object(PersistentVolumeClaim.resource, "a", namespace: "default") != nil)
    }
}
