import Imports
import Kubernetes
import KubernetesTestSupport
import Testing

@testable import API
@testable import Controller

/// PVCi's routes and shapes.
@Suite(.serialized) struct CompatTests {
    private let fixture: Fixture
    init() throws { fixture = try Fixture() }

    @Test("P1: the root tells version, mode and service, without a token")
    func root() async throws {
        try await fixture.serving {
            let reply = try await fixture.send("GET", "/", token: nil)
            #expect(reply.status == 200)
            #expect(reply.body == ["version": "0.1.0", "mode": "release", "service": "millrace"])
        }
    }

    @Test("P2: size counts a string prefix, and a strict directory where that is asked for")
    func size() async throws {
        try await fixture.serving {
            let all = try await fixture.post("/size", fixture.place())
            #expect(all.status == 200)
            #expect(all.body == ["objects": 3, "bytes": 7000])
            let directory = try await fixture.post("/size?directory=1", fixture.place())
            #expect(directory.body == ["objects": 2, "bytes": 3000])
            #expect(try await fixture.post("/size", fixture.place("")).body == ["objects": 4, "bytes": 15_000])
            #expect(try await fixture.post("/size", fixture.place("none")).body == ["objects": 0, "bytes": 0])
        }
    }

    @Test("P3: create on our class makes a claim of a Dataset with the keys in a Secret, and no copy")
    func createZeroCopy() async throws {
        try await fixture.serving {
            let reply = try await fixture.post("/create", fixture.order("set", class: "millrace"))
            #expect(reply.status == 200 && reply.body == .object([:]), "\(reply.text)")
            let claim = try #require(fixture.claim("set"))
            #expect(claim.at("metadata", "annotations", Names.dataset) == "team/set")
            #expect(claim.at("metadata", "annotations", Names.incomplete) == nil)
            #expect(claim.at("spec", "accessModes") == ["ReadOnlyMany"])
            let dataset = try #require(fixture.kube.object(Dataset.resource, "set", namespace: "team"))
            #expect(dataset.at("spec", "source", "s3", "bucket") == "datasets")
            #expect(dataset.at("spec", "source", "s3", "prefix") == "testset")
            #expect(dataset.at("spec", "allowedNamespaces", "from") == "Same")
            let secret = try #require(fixture.kube.objects(Secret.resource).first)
            #expect(dataset.at("spec", "secretRef", "name") == secret.at("metadata", "name"))
            #expect(secret.at("data", "secretAccessKey")?.string == "aHVudGVyMisvc2VjcmV0")
            for object in [dataset, secret] {
                let owner = try #require(object.at("metadata", "ownerReferences")?.array?.first)
                #expect(owner["uid"] == claim.at("metadata", "uid") && owner["kind"] == "PersistentVolumeClaim")
            }
            #expect(!"\(claim)\(dataset)".contains("hunter2"))
            #expect(fixture.kube.objects(DatasetImport.resource).isEmpty)
        }
    }

    @Test("P3: create on another class makes a claim of the objects' size and an import that fills it")
    func createCopy() async throws {
        try await fixture.serving {
            let reply = try await fixture.post("/create", fixture.order("copy", class: "block"))
            #expect(reply.status == 200 && reply.body == .object([:]), "\(reply.text)")
            let claim = try #require(fixture.claim("copy"))
            #expect(claim.at("spec", "accessModes") == ["ReadWriteOnce", "ReadOnlyMany"])
            let record = try #require(fixture.kube.object(DatasetImport.resource, "copy", namespace: "team"))
            #expect(record.at("spec", "claimName") == "copy")
            #expect(record.at("spec", "source", "s3", "prefix") == "testset")
            #expect(record.at("metadata", "ownerReferences")?.array?.first?["uid"] == claim.at("metadata", "uid"))
            let secret = try #require(fixture.kube.objects(Secret.resource).first)
            #expect(record.at("spec", "secretRef", "name") == secret.at("metadata", "name"))
            #expect(!"\(claim)\(record)".contains("hunter2"))
        }
    }

    @Test("P3: a copy is cloned for many readers, and what can't be cloned is refused with the reason")
    func clone() async throws {
        try await fixture.serving {
            let claims = "/v1/namespaces/team/claims"
            func clone(_ name: String, _ more: JSON = [:]) async throws -> Fixture.Reply {
                let body: JSON = ["name": .string("clone-of-\(name)"), "clone": .string(name)]
                return try await fixture.send("POST", claims, body.merged(with: more))
            }
            #expect(try await clone("none").status == 404)
            _ = try await fixture.post("/create", fixture.order("copy", class: "block"))
            fixture.bind("copy")
            let early = try await clone("copy")
            #expect(early.status == 409 && early.body["title"] == "NotReady", "\(early.text)")
            fixture.kube.setStatus(of: "copy", ["phase": "Succeeded", "progress": ["bytes": 7000, "objects": 3]])
            let made = try await clone("copy")
            #expect(made.status == 201 && made.body["kind"] == "Clone", "\(made.text)")
            let claim = try #require(fixture.claim("clone-of-copy"))
            #expect(claim.at("spec", "dataSource") == ["kind": "PersistentVolumeClaim", "name": "copy"])
            #expect(claim.at("spec", "accessModes") == ["ReadOnlyMany"])
            #expect(claim.at("spec", "storageClassName") == "block")
            #expect(claim.at("spec", "resources", "requests", "storage") == "1Gi", "what the volume has")
            #expect(claim.at("metadata", "annotations", "millrace.dev/object-count") == "3")
            let other = try await clone("copy", ["storageClassName": "millrace"])
            #expect(other.status == 422 && other.body["title"] == "ClassOurs", "\(other.text)")
            _ = try await fixture.post("/create", fixture.order("set", class: "millrace"))
            fixture.bind("set", driver: Names.defaultDriver)
            let set = try await clone("set")
            #expect(set.status == 422 && set.body["title"] == "ClassOurs", "\(set.text)")
            for wrong in [["dataset": "team/set"], ["subPath": "deep"], ["secretRef": ["name": "x"]]] as [JSON] {
                #expect(try await clone("copy", wrong).status == 400)
            }
            // Nobody writes to a copy that is read-only from the start.
            let order = fixture.order("x", class: "block")
            let readOnly = try await fixture.send(
                "POST", claims,
                [
                    "name": "ro", "storageClassName": "block", "accessModes": ["ReadOnlyMany"],
                    "source": [
                        "s3": ["bucket": "datasets", "endpoint": .string(fixture.s3.endpoint), "pathStyle": true]
                    ], "credentials": ["accessKeyID": order["s3_key"]!, "secretAccessKey": order["s3_secret"]!],
                ])
            #expect(readOnly.status == 422 && readOnly.body["title"] == "ReadOnlyCopy", "\(readOnly.text)")
            #expect(fixture.claim("ro") == nil)
        }
    }

    @Test("P4: create-async answers at once with where to look, and 200 {} in compat mode")
    func createAsync() async throws {
        try await fixture.serving {
            let reply = try await fixture.post("/create-async", fixture.order("later", class: "block"))
            #expect(reply.status == 202)
            #expect(reply.headers["location"] == "/v1/namespaces/team/claims/later")
            #expect(reply.body == ["status": "/v1/namespaces/team/claims/later"])
            try await eventually("it is made") {
                fixture.claim("later")?.at("metadata", "annotations", Names.incomplete) == nil
                    && fixture.kube.object(DatasetImport.resource, "later", namespace: "team") != nil
            }
            let compat = try await fixture.post("/create-async?compat=1", fixture.order("later2", class: "millrace"))
            #expect(compat.status == 200 && compat.body == .object([:]))
            // How one ended that failed is told by its status.
            var wrong = fixture.order("never", class: "block")
            wrong["s3_bucket"] = "nobucket"
            #expect(try await fixture.post("/create-async", wrong).status == 202)
            try await eventually("the failure is told") {
                let status = try await fixture.post("/status", Fixture.name("never")).body
                return status["InjectorHasError"] == true && status["Phase"] == "Failed"
                    && status["InjectorError"]?.string?.contains("nobucket") == true && status["PVCHasError"] == true
            }
            #expect(fixture.claim("never") == nil)
        }
    }

    @Test("P5: status has PVCi's keys and ours, and answers also after the Job is gone")
    func status() async throws {
        let keys: Set<String> = [
            "InjectorHasError", "InjectorError", "InjectorState", "PVCHasError", "PVCError", "PVCStatus", "Phase",
            "Percent", "Bytes",
        ]
        try await fixture.serving {
            let none = try await fixture.post("/status", Fixture.name("none"))
            #expect(none.status == 200 && Set(none.body.object?.keys ?? [:].keys) == keys)
            #expect(none.body["PVCHasError"] == true && none.body["Phase"] == "NotFound")
            _ = try await fixture.post("/create", fixture.order("copy", class: "block"))
            fixture.kube.setStatus(
                of: "copy", ["phase": "Running", "progress": ["bytes": 1750, "bytesTotal": 7000, "objects": 3]])
            let running = try await fixture.post("/status", Fixture.name("copy")).body
            #expect(running["Phase"] == "Copying" && running["Percent"] == 25 && running["Bytes"] == 1750)
            #expect(running.at("InjectorState", "active") == 1 && running.at("PVCStatus", "phase") == "Pending")
            fixture.bind("copy")
            fixture.kube.setStatus(
                of: "copy", ["phase": "Succeeded", "progress": ["bytes": 7000, "bytesTotal": 7000, "objects": 3]])
            // There is no Job, and there was none.
            let done = try await fixture.post("/status", Fixture.name("copy")).body
            #expect(Set(done.object?.keys ?? [:].keys) == keys)
            #expect(done["Phase"] == "Ready" && done["Percent"] == 100 && done["Bytes"] == 7000)
            #expect(done["InjectorHasError"] == false && done.at("InjectorState", "succeeded") == 1)
            #expect(done.at("PVCStatus", "phase") == "Bound" && done.at("PVCStatus", "capacity", "storage") == "1Gi")
            fixture.kube.setStatus(of: "copy", ["phase": "Failed", "message": "the disk is full"])
            let failed = try await fixture.post("/status", Fixture.name("copy")).body
            #expect(failed["InjectorHasError"] == true && failed["InjectorError"] == "the disk is full")
        }
    }

    @Test("P6: cleanup asks the import to let its Job go, as often as one likes")
    func cleanup() async throws {
        try await fixture.serving {
            #expect(try await fixture.post("/cleanup", Fixture.name("none")).status == 200)
            _ = try await fixture.post("/create", fixture.order("copy", class: "block"))
            for _ in 0..<2 {
                let reply = try await fixture.post("/cleanup", Fixture.name("copy"))
                #expect(reply.status == 200 && reply.body == .object([:]))
            }
            let record = fixture.kube.object(DatasetImport.resource, "copy", namespace: "team")
            #expect(record?.at("metadata", "annotations", "millrace.dev/cleanup") == "true")
            #expect(fixture.claim("copy") != nil)
        }
    }

    @Test("P7: delete takes claims that were made here, with all that belongs to them, and no others")
    func delete() async throws {
        try await fixture.serving {
            _ = try await fixture.post("/create", fixture.order("set", class: "millrace"))
            _ = try await fixture.post("/create", fixture.order("copy", class: "block"))
            for name in ["set", "copy"] {
                let reply = try await fixture.post("/delete", Fixture.name(name))
                #expect(reply.status == 200 && reply.body == .object([:]))
            }
            #expect(fixture.leftovers.isEmpty)
            fixture.kube.foreignClaim("precious")
            let refused = try await fixture.post("/delete", Fixture.name("precious"))
            #expect(refused.status == 409 && refused.body["error"]?.string?.contains("wasn't made by this API") == true)
            #expect(fixture.claim("precious") != nil)
            #expect(try await fixture.post("/delete", Fixture.name("none")).status == 404)
        }
    }

    @Test("P8: the mode is changed where no pod uses the claim, and refused with the pod's name where one does")
    func mode() async throws {
        try await fixture.serving {
            _ = try await fixture.post("/create", fixture.order("copy", class: "block"))
            #expect(try await fixture.post("/mode/rox", Fixture.name("copy")).status == 409)
            fixture.bind("copy")
            #expect(try await fixture.post("/mode/rox", Fixture.name("copy")).body == .object([:]))
            func modes() -> JSON? {
                fixture.kube.object(PersistentVolume.resource, "pv-copy")?.at("spec", "accessModes")
            }
            #expect(modes() == ["ReadOnlyMany"])
            #expect(try await fixture.post("/mode/rwo", Fixture.name("copy")).status == 200)
            #expect(modes() == ["ReadWriteOnce"])
            fixture.kube.create(
                Pod.resource,
                [
                    "metadata": ["name": "reader"],
                    "spec": ["volumes": [["name": "d", "persistentVolumeClaim": ["claimName": "copy"]]]],
                    "status": ["phase": "Running"],
                ], namespace: "team")
            let used = try await fixture.post("/mode/rox", Fixture.name("copy"))
            #expect(used.status == 409 && used.body["error"]?.string?.contains("pod team/reader") == true)
            #expect(modes() == ["ReadWriteOnce"])
            fixture.kube.foreignClaim("precious")
            #expect(try await fixture.post("/mode/rox", Fixture.name("precious")).status == 409)
        }
    }

    @Test("P9: errors are {error}, with the right status, and with 400 in compat mode")
    func errors() async throws {
        try await fixture.serving {
            let port = fixture.service.compatPort
            for (path, status) in [("/delete", 404), ("/delete?compat=1", 400)] {
                let reply = try await fixture.post(path, Fixture.name("none"))
                #expect(reply.status == status && Array((reply.body.object ?? [:]).keys) == ["error"])
            }
            let reply = try await fixture.send("POST", "/delete", Fixture.name("none"), port: port)
            #expect(reply.status == 400 && reply.body["error"]?.string?.isEmpty == false)
            let garbage = try await fixture.send("POST", "/size?compat=1", raw: Array("{nonsense".utf8))
            #expect(garbage.status == 400)
            #expect(garbage.body["error"]?.string?.hasPrefix("unable to read post body") == true)
        }
    }

    @Test(
        "P10: a copy's claim asks for ceil(bytes × 1.048576 × (1 + pct/100))",
        arguments: [
            (7000, 25, 9176), (1_000_000_000, 25, 1_310_720_000), (1000, 0, 1049), (0, 25, 1),
            (123_456_789, 7, 138_515_594),
        ])
    func sizes(bytes: Int, percent: Int, expected: Int) {
        #expect(Sizes.claimBytes(bytes, overagePercent: percent) == expected)
    }

    @Test("P10: the claim that is made has that size")
    func sizeOfClaim() async throws {
        try await fixture.serving {
            _ = try await fixture.post("/create", fixture.order("copy", class: "block"))
            #expect(fixture.claim("copy")?.at("spec", "resources", "requests", "storage") == "9176")
        }
    }

    @Test("P11: create doesn't wait for the claim to be bound, which may only happen with its first pod")
    func waitsForNothing() async throws {
        try await fixture.serving {
            fixture.kube.create(
                StorageClass.resource,
                [
                    "metadata": ["name": "late"], "provisioner": "block.example.org",
                    "volumeBindingMode": "WaitForFirstConsumer",
                ])
            #expect(try await fixture.post("/create", fixture.order("wait", class: "late")).status == 200)
            let status = try await fixture.post("/status", Fixture.name("wait")).body
            #expect(status["Phase"] == "Pending" && status["InjectorHasError"] == false)
        }
    }

    @Test("P13: the metrics that PVCi had are there, and more")
    func metrics() async throws {
        try await fixture.serving {
            _ = try await fixture.post("/size", fixture.place())
            _ = try await fixture.post("/delete", Fixture.name("none"))
            let text = fixture.registry.render()
            for line in [
                #"millrace_service_info{service="millrace",version="0.1.0",mode="release"} 1"#,
                #"millrace_api_requests_total{code="200",method="POST",route="/size"} 1"#,
                #"millrace_api_requests_total{code="404",method="POST",route="/delete"} 1"#,
                #"millrace_api_request_seconds_count{route="/size"} 1"#, "millrace_api_counted_objects_total 3",
            ] { #expect(text.contains(line), "\(line)") }
        }
    }

    @Test("P14: claims carry labels for service, version, volume and job, and annotations for size, count and origin")
    func labels() async throws {
        try await fixture.serving {
            _ = try await fixture.post("/create", fixture.order("copy", class: "block"))
            let metadata = try #require(fixture.claim("copy")?["metadata"])
            #expect(
                metadata["labels"] == [
                    "millrace.dev/service": "millrace", "millrace.dev/version": "0.1.0", "millrace.dev/volume": "copy",
                    "millrace.dev/job": "copy",
                ])
            #expect(metadata.at("annotations", "millrace.dev/requested-size") == "7000")
            #expect(metadata.at("annotations", "millrace.dev/object-count") == "3")
            #expect(
                metadata.at("annotations", "millrace.dev/origin")?.string
                    == "http://127.0.0.1:\(fixture.s3.port)/datasets/testset")
        }
    }
}

extension KubernetesTestSupport.APIServer {
    func setStatus(of name: String, _ status: JSON) {
        var request = APIRequest(
            method: "PATCH", target: DatasetImport.resource.path(namespace: "team", name: name, subresource: "status"),
            body: (["status": status] as JSON).bytes)
        request.headers = [("content-type", "application/merge-patch+json")]
        let response = perform(request)
        precondition(response.status == 200, String(decoding: response.body, as: UTF8.self))
    }

    func foreignClaim(_ name: String) {
        create(
            PersistentVolumeClaim.resource,
            [
                "metadata": ["name": .string(name)],
                "spec": [
                    "storageClassName": "block", "accessModes": ["ReadWriteOnce"],
                    "resources": ["requests": ["storage": "1Gi"]],
                ],
            ], namespace: "team")
    }
}
