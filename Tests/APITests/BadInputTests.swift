import Kubernetes
import KubernetesTestSupport
import Testing

@testable import API
@testable import Controller

/// What makes no sense, or is somebody else's, gets a clear answer and changes nothing.
@Suite(.serialized) struct BadInputTests {
    private let fixture: Fixture
    init() throws { fixture = try Fixture() }

    private func expectNothingChanges(_ body: () async throws -> Void) async throws {
        try await fixture.serving {
            let revision = fixture.kube.revision
            try await body()
            #expect(fixture.kube.revision == revision)
            #expect(fixture.leftovers.isEmpty)
        }
    }

    @Test func bodiesThatAreNoObjectsAreRefusedOnEveryRoute() async throws {
        try await expectNothingChanges {
            let bodies = [
                "", "null", "[]", "3", "\"x\"", "{", "{\"a\":}", "\u{0}", String(repeating: "[", count: 5000),
                "{\"namespace\": 3}", "{\"namespace\": {\"a\": []}, \"name\": []}",
            ]
            for endpoint in fixture.service.endpoints where endpoint.body != nil {
                for body in bodies {
                    let reply = try await fixture.send(
                        endpoint.method.rawValue, endpoint.path.filled, raw: Array(body.utf8))
                    // An order that may be empty isn't refused for that; this controller mints no keys.
                    let isEmptyOrder = endpoint.bodyIsOptional && ["", "null"].contains(body)
                    #expect(
                        reply.status == (isEmptyOrder ? 501 : 400), "\(endpoint.id) \(body.prefix(20)): \(reply.text)")
                    #expect((reply.body["error"] ?? reply.body["detail"])?.string?.isEmpty == false)
                }
            }
        }
    }

    private static let nonsense: [(String, JSON, Int)] = [
        ("s3_endpoint", 3, 400), ("s3_endpoint", "", 400), ("s3_endpoint", "a b", 400),
        ("s3_endpoint", "user:pw@host", 400), ("s3_ssl", "yes", 400), ("s3_bucket", .null, 400),
        ("s3_bucket", "a/b", 400), ("s3_bucket", "..", 400), ("s3_prefix", ["x"], 400), ("s3_prefix", "../x", 400),
        ("s3_prefix", "/abs", 400), ("s3_key", "", 400), ("s3_secret", 7, 400), ("namespace", "Team", 400),
        ("namespace", "a/b", 400), ("namespace", "", 400), ("name", "../x", 400), ("name", "UPPER", 400),
        ("name", .string(String(repeating: "n", count: 64)), 400), ("name", "-x", 400), ("storage_class", 1, 400),
        ("storage_class", "none", 422), ("storage_class", "fixed", 422), ("s3_bucket", "nobucket", 404),
        ("s3_key", "WRONG", 422), ("s3_endpoint", "127.0.0.1:1", 502), ("s3_endpoint", "169.254.169.254", 422),
        ("s3_endpoint", "[fe80::1]:80", 422), ("namespace", "nowhere", 403), ("namespace", "other", 403),
    ]

    @Test(arguments: nonsense)
    func fieldsThatMakeNoSense(field: String, value: JSON, status: Int) async throws {
        try await expectNothingChanges {
            for kind in ["millrace", "block"] {
                var order = fixture.order("x", class: kind)
                order[field] = value
                let reply = try await fixture.post("/create", order)
                #expect(reply.status == status, "\(field) \(value): \(reply.text)")
                #expect(!reply.text.contains("hunter2"))
            }
        }
    }

    @Test func aNamespaceThatIsNotThereIsNamed() async throws {
        try await expectNothingChanges {
            var order = fixture.order("x", class: "millrace")
            order["namespace"] = "nowhere"
            let reply = try await fixture.post("/create", order, token: "user:admin")
            #expect(reply.status == 404 && reply.text.contains("nowhere"))
        }
    }

    @Test(arguments: [
        ["name": "x"] as JSON, ["name": "x", "storageClassName": "millrace"],
        ["name": "x", "storageClassName": "millrace", "dataset": "a/b/c"],
        ["name": "x", "storageClassName": "millrace", "dataset": "team/set", "unknown": 1],
        ["name": "x", "storageClassName": "millrace", "dataset": "team/set", "accessModes": []],
        ["name": "x", "storageClassName": "millrace", "dataset": "team/set", "accessModes": ["Sometimes"]],
        ["name": "x", "storageClassName": "millrace", "dataset": "team/set", "subPath": "../up"],
        ["name": "x", "storageClassName": "millrace", "source": ["s3": ["bucket": "b"]]],
        ["name": "x", "storageClassName": "millrace", "source": ["s3": ["bucket": "b", "roleARN": "arn:x"]]],
        ["name": "x", "storageClassName": "millrace", "source": ["ftp": [:]]],
        ["name": "x", "storageClassName": "millrace", "credentials": ["accessKeyID": "a"]],
        [
            "name": "x", "storageClassName": "millrace", "secretRef": ["name": "s"],
            "credentials": ["accessKeyID": "a", "secretAccessKey": "hunter2"], "source": ["s3": ["bucket": "b"]],
        ],
    ])
    func claimsThatMakeNoSense(order: JSON) async throws {
        try await expectNothingChanges {
            let reply = try await fixture.send("POST", "/v1/namespaces/team/claims", order)
            #expect(reply.status == 400 && reply.headers["content-type"] == "application/problem+json", "\(reply.text)")
            #expect(reply.body["title"] == "BadField" && !reply.text.contains("hunter2"))
        }
    }

    @Test func pathsAndMethodsThatAreNotThere() async throws {
        try await expectNothingChanges {
            for path in ["/nothing", "/v1", "/v1/namespaces/team", "/create/x", "/../etc/passwd"] {
                let reply = try await fixture.send("GET", path)
                #expect(reply.status == 404, "\(path): \(reply.text)")
            }
            let reply = try await fixture.send("GET", "/size")
            #expect(reply.status == 405 && reply.headers["allow"] == "POST")
            #expect(try await fixture.send("GET", "/v1/namespaces/UP/claims").status == 400)
            #expect(
                try await fixture.send(
                    "POST", "/v1/size", ["source": [:]], headers: [("Content-Type", "text/plain")]
                ).status == 415)
        }
    }

    @Test func urlsToForbiddenAddressesAreRefusedWhereverTheyStand() async throws {
        try await expectNothingChanges {
            let s3: JSON = ["source": ["s3": ["bucket": "bkt", "endpoint": "http://169.254.169.254"]]]
            let sts: JSON = [
                "source": ["s3": ["bucket": "bkt", "stsEndpoint": "http://[fd00:ec2::254]/"]]
            ]
            let http: JSON = ["source": ["http": ["urls": ["http://192.0.2.1/a", "HTTP://169.254.1.1/b"]]]]
            for (path, spec) in [("datasets", s3), ("datasets", sts), ("imports", s3), ("imports", http)] {
                let reply = try await fixture.send(
                    "POST", "/v1/namespaces/team/\(path)", ["name": "x", "spec": spec])
                #expect(reply.status == 422 && reply.body["title"] == "AddressRefused", "\(reply.text)")
                #expect(reply.body["detail"]?.string?.hasPrefix("spec.source.") == true)
            }
        }
    }

    /// Whatever step fails, and whether its answer was lost or it wasn't done, nothing is left.
    @Test(arguments: ["persistentvolumeclaims", "secrets", "datasets", "datasetimports"], [true, false])
    func whatFailsHalfwayIsUndone(resource: String, isLost: Bool) async throws {
        try await fixture.serving {
            for kind in ["millrace", "block"] {
                if (resource == "datasets") != (kind == "millrace") && resource.hasPrefix("dataset") { continue }
                fixture.kube.inject(
                    Fault(
                        verb: "create", resource: resource,
                        isLost ? .lostAnswer : .status(500, reason: "InternalError"))
                )
                let reply = try await fixture.post("/create", fixture.order("x", class: kind))
                #expect(reply.status == 503, "\(kind): \(reply.text)")
                #expect(fixture.leftovers.isEmpty, "\(kind)")
                fixture.kube.clearFaults()
            }
            fixture.kube.inject(
                Fault(verb: "patch", resource: "persistentvolumeclaims", .status(500, reason: "InternalError")))
            #expect(try await fixture.post("/create", fixture.order("x", class: "block")).status == 503)
            #expect(fixture.leftovers.isEmpty)
        }
    }

    @Test func objectsThatHaveTheNameAlreadyAreLeftAlone() async throws {
        try await fixture.serving {
            fixture.kube.foreignClaim("taken")
            let before = fixture.claim("taken")
            let reply = try await fixture.post("/create", fixture.order("taken", class: "millrace"))
            #expect(reply.status == 409 && reply.text.contains("PersistentVolumeClaim team/taken is there already"))
            #expect(fixture.claim("taken") == before)
            let spec: JSON = ["source": ["s3": ["bucket": "mine", "anonymous": true]]]
            fixture.kube.create(
                Dataset.resource, ["metadata": ["name": "iris"], "spec": spec], namespace: "team")
            let second = try await fixture.post("/create", fixture.order("iris", class: "millrace"))
            #expect(second.status == 409 && second.text.contains("Dataset team/iris is there already"))
            #expect(fixture.leftovers.sorted() == ["Dataset iris", "PersistentVolumeClaim taken"])
        }
    }

    @Test func claimsThatACrashLeftIncompleteAreSweptAtTheSecondLook() async throws {
        try await fixture.serving {
            _ = try await fixture.post("/create", fixture.order("good", class: "millrace"))
            _ = try await fixture.post("/create", fixture.order("half", class: "millrace"))
            let mark: JSON = ["metadata": ["annotations": [Names.incomplete: "true"]]]
            fixture.kube.patch(PersistentVolumeClaim.resource, "half", namespace: "team", mark)
            fixture.kube.foreignClaim("foreign")
            fixture.kube.patch(PersistentVolumeClaim.resource, "foreign", namespace: "team", mark)
            let claims = fixture.service.claims
            let suspects = try await claims.sweepOnce([])
            #expect(suspects.count == 1 && fixture.claim("half") != nil)
            _ = try await claims.sweepOnce(suspects)
            #expect(fixture.claim("half") == nil && fixture.claim("good") != nil && fixture.claim("foreign") != nil)
            #expect(fixture.leftovers.count { $0.hasPrefix("Dataset ") } == 1)
        }
    }
}
