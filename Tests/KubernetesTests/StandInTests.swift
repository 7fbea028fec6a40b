import Kubernetes
import Testing

@testable import KubernetesTestSupport

/// The stand-in against what was recorded from a real server.
@Suite struct StandInTests {
    let server = APIServer()

    private let schema: JSON = [
        "type": "object",
        "properties": [
            "spec": [
                "type": "object", "required": ["bucket"],
                "properties": ["bucket": ["type": "string"], "region": ["type": "string", "default": "us-east-1"]],
                "x-kubernetes-validations": [
                    ["rule": "self.bucket == oldSelf.bucket", "message": "bucket is immutable"]
                ],
            ],
            "status": ["type": "object", "x-kubernetes-preserve-unknown-fields": true],
        ],
    ]

    private var resource: Resource {
        server.create(
            Resource(
                group: "apiextensions.k8s.io", version: "v1", plural: "customresourcedefinitions",
                kind: "CustomResourceDefinition", isNamespaced: false),
            [
                "metadata": ["name": "datasets.rec.dev"],
                "spec": [
                    "group": "rec.dev", "scope": "Namespaced", "names": ["plural": "datasets", "kind": "Dataset"],
                    "versions": [
                        [
                            "name": "v1", "served": true, "storage": true, "subresources": ["status": [:]],
                            "schema": ["openAPIV3Schema": schema],
                        ]
                    ],
                ],
            ])
        return Resource(group: "rec.dev", version: "v1", plural: "datasets", kind: "Dataset", isNamespaced: true)
    }

    private func post(_ resource: Resource, _ object: JSON) -> (Int, JSON, [String: String]) {
        let response = server.perform(
            APIRequest(method: "POST", target: resource.path(namespace: "default"), body: object.bytes))
        return (response.status, (try? JSON(parsing: response.body)) ?? .null, response.headers)
    }

    @Test func schemasRefuseDefaultAndPrune() throws {
        let resource = resource
        let (refused, status, _) = post(resource, ["metadata": ["name": "d"], "spec": [:]])
        #expect(refused == 422)
        #expect(
            status["message"]
                == "Dataset.rec.dev \"d\" is invalid: [spec.bucket: Required value, <nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation]"
        )
        let (created, object, headers) = post(
            resource,
            ["metadata": ["name": "d"], "spec": ["bucket": "b", "unknown": 1], "status": ["phase": "x"]])
        #expect(created == 201)
        #expect(object["spec"] == ["bucket": "b", "region": "us-east-1"])
        #expect(object["status"] == nil)
        #expect(headers["warning"] == "299 - \"unknown field \\\"spec.unknown\\\"\"")
        let changed = server.patch(resource, "d", namespace: "default", ["spec": ["bucket": "c"]])
        #expect(changed.status == 422)
        #expect(
            try JSON(parsing: changed.body)["message"]
                == "Dataset.rec.dev \"d\" is invalid: spec: Invalid value: bucket is immutable")
        server.patch(resource, "d", namespace: "default", ["spec": ["region": "eu"]])
        #expect(server.object(resource, "d", namespace: "default")?.at("metadata", "generation") == 2)
        server.stop()
    }

    @Test func volumesAreBoundToTheClaimsTheyNameAndReleasedWithThem() {
        let volumes = PersistentVolume.resource
        let claims = PersistentVolumeClaim.resource
        server.create(
            volumes,
            [
                "metadata": ["name": "v"],
                "spec": [
                    "capacity": ["storage": "1Gi"], "accessModes": ["ReadOnlyMany"], "storageClassName": "nosuch",
                    "persistentVolumeReclaimPolicy": "Delete",
                    "csi": ["driver": "s3.csi.millrace.dev", "volumeHandle": "h"],
                    "claimRef": ["namespace": "default", "name": "b"],
                ],
            ])
        server.create(
            claims,
            [
                "metadata": ["name": "b"],
                "spec": [
                    "storageClassName": "nosuch", "accessModes": ["ReadOnlyMany"],
                    "resources": ["requests": ["storage": "1Gi"]],
                ],
            ], namespace: "default")
        let claim = server.object(claims, "b", namespace: "default")
        #expect(claim?.at("status", "phase") == "Bound")
        #expect(claim?.at("spec", "volumeName") == "v")
        #expect(server.object(volumes, "v")?.at("spec", "claimRef", "uid") == claim?.at("metadata", "uid"))
        let patched = server.patch(volumes, "v", ["spec": ["csi": ["volumeHandle": "other"]]])
        #expect(patched.status == 422)
        // A bound volume that goes leaves its claim Lost; one that comes back finds it again.
        let kept = server.object(volumes, "v")!
        server.delete(volumes, "v")
        #expect(server.object(volumes, "v")?.at("metadata", "deletionTimestamp") != nil)
        let cleared = server.patch(volumes, "v", ["metadata": ["finalizers": .null]])
        #expect(cleared.status == 200, "\(String(decoding: cleared.body, as: UTF8.self))")
        #expect(server.object(claims, "b", namespace: "default")?.at("status", "phase") == "Lost")
        server.create(volumes, ["metadata": ["name": "v"], "spec": kept["spec"]!])
        #expect(server.object(claims, "b", namespace: "default")?.at("status", "phase") == "Bound")
        server.delete(claims, "b", namespace: "default")
        #expect(server.object(claims, "b", namespace: "default") == nil)
        #expect(server.object(volumes, "v")?.at("status", "phase") == "Released")
        server.stop()
    }

    @Test func dependentsGoWithTheirOwner() {
        let secrets = Secret.resource
        let owner = server.create(secrets, ["metadata": ["name": "owner"]], namespace: "default")
        server.create(
            secrets,
            [
                "metadata": [
                    "name": "child",
                    "ownerReferences": [
                        ["apiVersion": "v1", "kind": "Secret", "name": "owner", "uid": owner.at("metadata", "uid")!]
                    ],
                ]
            ], namespace: "default")
        let generated = server.create(secrets, ["metadata": ["generateName": "gen-"]], namespace: "default")
        #expect(generated.at("metadata", "name")?.string?.count == 9)
        server.delete(secrets, "owner", namespace: "default")
        #expect(server.object(secrets, "child", namespace: "default") == nil)
        server.stop()
    }

    @Test func jsonPatchTestsFailAsRecorded() throws {
        server.create(Secret.resource, ["metadata": ["name": "s"]], namespace: "default")
        var request = APIRequest(
            method: "PATCH", target: "/api/v1/namespaces/default/secrets/s",
            body: Array(#"[{"op":"test","path":"/metadata/resourceVersion","value":"1"}]"#.utf8))
        request.headers = [("content-type", "application/json-patch+json")]
        let refused = server.perform(request)
        #expect(refused.status == 422)
        request.body = Array(#"[{"op":"add","path":"/metadata/labels","value":{"a~b":"1"}}]"#.utf8)
        #expect(server.perform(request).status == 200)
        server.stop()
    }

    @Test(arguments: [
        ("has(self.a) && self.a.size() > 2", true), ("!has(self.b) || self.b == 'x'", true),
        ("[has(self.a), has(self.b), has(self.c)].filter(x, x).size() == 1", true),
        ("self.a.startsWith('abc') ? self.n >= 3 : false", true), ("self.a.matches('^[a-z]+$')", true),
        ("self.l.all(x, x != 'y') && 'x' in self.l", true), ("self.l.exists(x, x == 'z')", false),
        ("self.a.split('b').size() == 2 && !self.a.contains('..')", true), ("self.n - 1 == 2 && self.n <= 3", true),
        ("false && self.missing", false), ("self['a'] == \"abc\"", true), ("self.l.map(x, x + '!')[0] == 'x!'", true),
    ]) func celRulesAreEvaluated(_ rule: String, _ expected: Bool) throws {
        let object: JSON = ["a": "abc", "n": 3, "l": ["x"]]
        #expect(try CEL(rule).evaluate(["self": object]) == .bool(expected))
    }

    @Test(arguments: ["self.", "a b", "self.missing", "unknown(1)", "'x", "1 +"]) func badRulesAreErrors(_ rule: String)
    {
        #expect(throws: CEL.Problem.self) { try CEL(rule).evaluate(["self": [:]]) }
    }
}
