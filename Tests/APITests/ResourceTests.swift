import FoundationEssentials
import Glibc
import Kubernetes
import KubernetesTestSupport
import Testing

@testable import API
@testable import Controller

/// The same as resources, under /v1.
@Suite(.serialized) struct ResourceTests {
    private let fixture: Fixture
    init() throws { fixture = try Fixture() }

    private var s3: JSON {
        ["bucket": "datasets", "prefix": "testset", "endpoint": .string(fixture.s3.endpoint), "pathStyle": true]
    }
    private let credentials: JSON = [
        "accessKeyID": .string(Fixture.keys.accessKey), "secretAccessKey": .string(Fixture.keys.secretKey),
    ]

    @Test func sizesAreOfADirectoryUnlessOneSaysOtherwise() async throws {
        try await fixture.serving {
            let body: JSON = ["source": ["s3": s3], "credentials": credentials]
            let directory = try await fixture.post("/v1/size", body)
            #expect(directory.body == ["objects": 2, "bytes": 3000])
            let all = try await fixture.post("/v1/size", body.merged(with: ["directory": false]))
            #expect(all.body == ["objects": 3, "bytes": 7000])
        }
    }

    @Test func aClaimIsCreatedReadListedAndDeleted() async throws {
        try await fixture.serving {
            let claims = "/v1/namespaces/team/claims"
            let order: JSON = [
                "name": "set", "storageClassName": "millrace", "source": ["s3": s3], "credentials": credentials,
                "subPath": "deep",
            ]
            let made = try await fixture.send("POST", claims, order)
            #expect(made.status == 201 && made.headers["location"] == "\(claims)/set", "\(made.text)")
            #expect(made.body["kind"] == "ZeroCopy" && made.body["dataset"] == "team/set")
            #expect(fixture.claim("set")?.at("metadata", "annotations", Names.subPath) == "deep")
            var copy = order.merged(with: ["name": "copy", "storageClassName": "block"])
            copy["subPath"] = nil
            let copied = try await fixture.send("POST", claims, copy)
            #expect(copied.status == 202 && copied.body["kind"] == "Copy", "\(copied.text)")
            let later = try await fixture.send("POST", "\(claims)?async=1", copy.merged(with: ["name": "later"]))
            #expect(later.status == 202, "\(later.text)")
            try await eventually("it is made") {
                try await fixture.send("GET", "\(claims)/later").body["claimPhase"] == "Pending"
            }
            let list = try await fixture.send("GET", claims)
            #expect(list.body["items"]?.array?.map { $0["name"] } == ["copy", "later", "set"])
            #expect(try await fixture.send("DELETE", "\(claims)/copy/job").status == 204)
            for name in ["set", "copy", "later"] {
                #expect(try await fixture.send("DELETE", "\(claims)/\(name)").status == 204)
                #expect(try await fixture.send("GET", "\(claims)/\(name)").status == 404)
            }
            #expect(fixture.leftovers.isEmpty)
        }
    }

    @Test func aClaimOfADatasetThatIsThereNeedsNoKeys() async throws {
        try await fixture.serving {
            let order: JSON = ["name": "set", "storageClassName": "millrace", "dataset": "courses/iris"]
            let made = try await fixture.send("POST", "/v1/namespaces/team/claims", order)
            #expect(made.status == 201 && made.body["kind"] == "Dataset" && made.body["dataset"] == "courses/iris")
            #expect(fixture.leftovers == ["PersistentVolumeClaim set"])
            let foreign = order.merged(with: ["name": "other", "storageClassName": "block"])
            let refused = try await fixture.send("POST", "/v1/namespaces/team/claims", foreign)
            #expect(refused.status == 422 && refused.body["title"] == "ClassForeign")
        }
    }

    @Test func theModeIsAResourceToo() async throws {
        try await fixture.serving {
            _ = try await fixture.post("/create", fixture.order("copy", class: "block"))
            fixture.bind("copy")
            let path = "/v1/namespaces/team/claims/copy/mode"
            let reply = try await fixture.send("PUT", path, ["accessMode": "ReadOnlyMany"])
            #expect(reply.status == 200 && reply.body["claimPhase"] == "Bound")
            #expect(try await fixture.send("PUT", path, ["accessMode": "ReadWriteMany"]).status == 400)
            // What shows a Dataset stays read-only.
            _ = try await fixture.post("/create", fixture.order("set", class: "millrace"))
            fixture.bind("set", driver: Names.defaultDriver)
            let readOnly = try await fixture.send(
                "PUT", "/v1/namespaces/team/claims/set/mode", ["accessMode": "ReadWriteOnce"])
            #expect(readOnly.status == 409 && readOnly.body["title"] == "ReadOnly", "\(readOnly.text)")
        }
    }

    @Test(arguments: ["datasets", "imports"])
    func customResourcesAreCreatedReadListedAndDeleted(plural: String) async throws {
        try await fixture.serving {
            let path = "/v1/namespaces/team/\(plural)"
            var spec: JSON = ["source": ["s3": ["bucket": "datasets", "prefix": "testset", "anonymous": true]]]
            if plural == "imports" { spec["claimName"] = "there" }
            let order: JSON = ["name": "one", "spec": spec, "labels": ["team": "a"]]
            let made = try await fixture.send("POST", path, order)
            #expect(made.status == 201 && made.headers["location"] == "\(path)/one", "\(made.text)")
            #expect(made.body.at("metadata", "labels", "team") == "a")
            #expect(try await fixture.send("POST", path, order).status == 409)
            let list = try await fixture.send("GET", path).body["items"]?.array
            #expect(list?.count == 1 && list?.first?["kind"] == made.body["kind"])
            #expect(
                try await fixture.send("GET", "\(path)/one").body.at("spec", "source", "s3", "bucket") == "datasets")
            let wrong = order.merged(with: ["name": "two", "spec": ["source": ["s3": ["bucket": 3]]]])
            let refused = try await fixture.send("POST", path, wrong)
            #expect(refused.status == 422 && refused.body["detail"]?.string?.contains("spec.source.s3.bucket") == true)
            #expect(try await fixture.send("DELETE", "\(path)/one").status == 204)
            #expect(try await fixture.send("DELETE", "\(path)/one").status == 404)
        }
    }

    @Test func theDocumentIsTheOneInDocsAndHasEveryRoute() async throws {
        try await fixture.serving {
            let served = try await fixture.send("GET", "/openapi.json", token: nil).body
            if let path = getenv("MILLRACE_WRITE_OPENAPI") {
                try Data(served.bytes).write(to: URL(filePath: String(cString: path)))
            }
            let committed = try JSON(parsing: text(of: "docs/openapi.json"))
            #expect(
                served == committed,
                "docs/openapi.json is old: run this test with MILLRACE_WRITE_OPENAPI=docs/openapi.json")
            for endpoint in fixture.service.endpoints {
                #expect(served.at("paths", endpoint.path, endpoint.method.rawValue.lowercased()) != nil)
            }
        }
    }

    @Test("P12: PVCi's environment is read, and what is wrong in it is named")
    func environment() throws {
        var settings = APISettings()
        let metrics = try settings.read(environment: [
            "IP": "0.0.0.0", "PORT": "8071", "METRICS_PORT": "2113", "MODE": "debug", "HTTP_READ_TIMEOUT": "11",
            "HTTP_WRITE_TIMEOUT": "12", "VOLUME_OVERAGE_PCT": "50",
        ])
        #expect(settings.compat == .init(address: "0.0.0.0", port: 8071))
        #expect(metrics == .init(address: "0.0.0.0", port: 2113))
        #expect(settings.mode == "debug" && settings.overagePercent == 50)
        #expect(settings.readTimeoutSeconds == 11 && settings.writeTimeoutSeconds == 12)
        var defaults = APISettings()
        let none = try defaults.read(environment: ["PORT": ""])
        #expect(none == nil && defaults.compat == nil)
        let other = try defaults.read(environment: ["IP": "127.0.0.2"])
        #expect(other == .init(address: "127.0.0.2", port: 2112))
        #expect(defaults.compat == .init(address: "127.0.0.2", port: 8070))
        for (name, value) in [
            ("PORT", "x"), ("PORT", "70000"), ("MODE", "loud"), ("VOLUME_OVERAGE_PCT", "-1"),
            ("HTTP_READ_TIMEOUT", "0"),
        ] {
            var wrong = APISettings()
            let refusal = #expect(throws: Refusal.self) { _ = try wrong.read(environment: [name: value]) }
            #expect(refusal?.message.contains(name) == true)
        }
    }
}
