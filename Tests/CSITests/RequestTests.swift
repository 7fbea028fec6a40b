import CSIProtocol
import NodeProtocol
import Testing

@testable import CSI

@Suite struct RequestTests {
    static func message(_ body: () throws(Refusal) -> Void) -> String {
        do throws(Refusal) {
            try body()
            return "(nothing was refused)"
        } catch {
            return error.code == .invalidArgument ? error.message : "(\(error))"
        }
    }

    static func request(
        _ change: (inout Csi_V1_NodePublishVolumeRequest) -> Void = { _ in }
    ) -> Csi_V1_NodePublishVolumeRequest {
        var request = Csi_V1_NodePublishVolumeRequest()
        request.volumeID = "v"
        request.targetPath = "/pods/a/mount"
        request.volumeCapability.mount = .init()
        request.volumeCapability.accessMode.mode = .multiNodeReaderOnly
        request.volumeContext = ["bucket": "b"]
        request.secrets = ["accessKeyID": "id", "secretAccessKey": "secret"]
        change(&request)
        return request
    }

    @Test func allAttributesAreTaken() throws {
        let attributes = try VolumeAttributes([
            "bucket": "b", "prefix": "/a/b", "endpoint": "https://s3.example:9000", "region": "r", "pathStyle": "false",
            "requesterPays": "true", "metadataTTL": "5m", "readAhead": "4Mi", "uid": "1000", "gid": "100",
            "fileMode": "0440", "dirMode": "550", "stsEndpoint": "http://sts", "millrace.dev/dataset": "ns/name",
            "cachePriority": "700", "cachePinned": "true", "cacheQuota": "2Ti", "csi.storage.k8s.io/of.tomorrow": "x",
            "storage.kubernetes.io/csiProvisionerIdentity": "1-2-x",
        ])
        var expected = SessionSpec(
            bucket: "b", prefix: "a/b/", endpoint: "https://s3.example:9000", region: "r", pathStyle: false,
            requesterPays: true, metadataTTLMs: 300_000, readAheadBytes: 4 << 20, uid: 1000, gid: 100,
            fileMode: 0o440, directoryMode: 0o550, stsEndpoint: "http://sts")
        expected.dataset = "ns/name"
        expected.cachePriority = 700
        expected.isCachePinned = true
        expected.cacheQuotaBytes = 2 << 40
        #expect(attributes.view == expected)
    }

    @Test(arguments: [
        ("", 60_000), ("250ms", 250), ("1s", 1_000), ("30", 30_000), ("2h", 7_200_000), ("immutable", Int.max),
    ])
    func timesAreRead(text: String, ms: Int) throws {
        let context = text.isEmpty ? ["bucket": "b"] : ["bucket": "b", "metadataTTL": text]
        #expect(try VolumeAttributes(context).view.metadataTTLMs == ms)
    }

    @Test func immutableOutweighsATTL() throws {
        let view = try VolumeAttributes(["bucket": "b", "immutable": "true", "metadataTTL": "1s"]).view
        #expect(view.metadataTTLMs == .max)
    }

    @Test(arguments: [("", ""), ("/", ""), ("a", "a/"), ("a/", "a/"), ("//a//b", "a//b/")])
    func prefixesEndInASlash(text: String, prefix: String) { #expect(VolumeAttributes.prefix(text) == prefix) }

    @Test(arguments: ["/a/../b", "/a/./b", "a", "", "/", "/a\nb", "/" + String(repeating: "x", count: 4_096)])
    func pathsThatAreNoTarget(path: String) {
        #expect(Self.message { () throws(Refusal) in _ = try Checks.path(path, "target_path") }.contains("target_path"))
    }

    @Test func pathsAreMadePlain() throws { #expect(try Checks.path("//a///b/", "p") == "/a/b") }

    @Test func everyUnknownNameIsNamed() {
        for (change, name) in [
            ({ $0.volumeContext["nope"] = "x" }, "nope"), ({ $0.secrets["nope"] = "x" }, "nope"),
            ({ $0.volumeCapability.mount.mountFlags = ["nope"] }, "nope"),
            ({ $0.volumeContext["millrace.dev/nope"] = "x" }, "millrace.dev/nope"),
        ] as [((inout Csi_V1_NodePublishVolumeRequest) -> Void, String)] {
            let message = Self.message { () throws(Refusal) in _ = try PublishContent(Self.request(change)) }
            #expect(message.contains("\"\(name)\""))
        }
    }

    @Test func scopesFollowTheKeysAndNotTheToken() throws {
        func scope(_ secrets: [String: String], _ context: [String: String] = [:]) throws -> String {
            try PublishContent(
                Self.request {
                    $0.secrets = secrets
                    $0.volumeContext.merge(context) { $1 }
                }
            ).spec.scope
        }
        let keys = ["accessKeyID": "id", "secretAccessKey": "secret"]
        #expect(try scope(keys) == scope(["AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"]))
        #expect(try scope(keys) == scope(keys.merging(["sessionToken": "t"]) { $1 }))
        #expect(try scope(keys) != scope(["accessKeyID": "id", "secretAccessKey": "other"]))
        // "ids" + "ecret" is not "id" + "secret".
        #expect(try scope(keys) != scope(["accessKeyID": "ids", "secretAccessKey": "ecret"]))
        #expect(try scope(keys) != scope([:], ["anonymous": "true"]))
    }

    @Test func keysOfTheEnvironmentAreForVolumesWithoutSecretsAndPods() throws {
        let environment = [
            "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINT_URL": "http://other:1",
            "AWS_ENDPOINT_URL_S3": "http://s3:1", "AWS_REGION": "", "HOME": "/root",
        ]
        let ambient = PluginOptions.ambientSecrets { environment[$0] }
        #expect(Set(ambient.keys) == ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"])
        #expect(PluginOptions.ambientSecrets { $0 == "AWS_ACCESS_KEY_ID" ? "id" : nil }.isEmpty)
        func content(_ change: (inout Csi_V1_NodePublishVolumeRequest) -> Void) throws(Refusal) -> PublishContent {
            try PublishContent(Self.request(change), ambient: ambient)
        }
        let alone = try content { $0.secrets = [:] }
        #expect(alone.spec.endpoint == "http://s3:1")
        #expect(alone.credentials == .keys(accessKeyID: "id", secretAccessKey: Secret("secret"), sessionToken: nil))
        #expect(
            try content { $0.secrets = ["accessKeyID": "own", "secretAccessKey": "s"] }.credentials
                == .keys(accessKeyID: "own", secretAccessKey: Secret("s"), sessionToken: nil))
        let anonymous = try content {
            $0.secrets = [:]
            $0.volumeContext["anonymous"] = "true"
        }
        #expect(anonymous.credentials == .anonymous)
        // In Kubernetes whoever can make a volume could read with them.
        let message = Self.message { () throws(Refusal) in
            _ = try content {
                $0.secrets = [:]
                $0.volumeContext["csi.storage.k8s.io/pod.namespace"] = "a"
            }
        }
        #expect(message.contains("accessKeyID"))
    }

    @Test func aServiceAccountsTokenIsTaken() throws {
        let json =
            #"{"sts.amazonaws.com":{"token":"jwt","expirationTimestamp":"2026-01-01T00:00:00Z"},"x":{"token":"y"}}"#
        func content(_ namespace: String) throws -> PublishContent {
            try PublishContent(
                Self.request {
                    $0.secrets = [VolumeAttributes.tokensKey: json]
                    $0.volumeContext["roleARN"] = "arn:aws:iam::1:role/r"
                    $0.volumeContext["csi.storage.k8s.io/pod.namespace"] = namespace
                })
        }
        #expect(try content("a").credentials == .webIdentity(roleARN: "arn:aws:iam::1:role/r", token: Secret("jwt")))
        #expect(try content("a").spec.scope != content("b").spec.scope)
    }

    @Test(arguments: ["{", "[]", "{}", #"{"a":{"token":"x"},"b":{"token":"y"}}"#])
    func tokensThatCannotBeUsed(json: String) {
        let message = Self.message { () throws(Refusal) in
            _ = try PublishContent(
                Self.request {
                    $0.secrets = [VolumeAttributes.tokensKey: json]
                    $0.volumeContext["roleARN"] = "arn"
                })
        }
        #expect(message.contains("token"))
    }

    @Test func aGrantNeedsThePodsNamespace() throws {
        let grant = ["bucket": "b", "millrace.dev/allowedNamespaces": "a,b"]
        let key = "csi.storage.k8s.io/pod.namespace"
        try VolumeAttributes(grant.merging([key: "b"]) { $1 }).checkGrant()
        #expect(throws: Refusal.self) { try VolumeAttributes(grant.merging([key: "c"]) { $1 }).checkGrant() }
        #expect(throws: Refusal.self) { try VolumeAttributes(grant).checkGrant() }
        let nobody = ["bucket": "b", "millrace.dev/allowedNamespaces": "", key: "a"]
        #expect(throws: Refusal.self) { try VolumeAttributes(nobody).checkGrant() }
    }

    @Test(arguments: [
        ("unix:///a/b.sock", "/a/b.sock"), ("unix:/a/b.sock", "/a/b.sock"), ("/a/b.sock", "/a/b.sock"),
        ("unix://a/b", nil), ("tcp://1.2.3.4:5", nil), ("unix:///a/../b", nil), ("unix:///a/", nil), ("", nil),
    ])
    func endpointsArePaths(text: String, path: String?) { #expect(PluginOptions.path(ofEndpoint: text) == path) }
}
