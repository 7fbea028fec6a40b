import FoundationEssentials
import Kubernetes
import KubernetesTestSupport
import Testing

@testable import Controller

/// What the CRD refuses before the controller ever sees it.
@Suite struct DatasetSchemaTests {
    private func create(_ spec: JSON) throws -> (status: Int, message: String) {
        let server = try APIServer.cluster()
        let base: JSON = ["source": ["s3": ["bucket": "bkt"]], "secretRef": ["name": "keys"]]
        let object: JSON = ["metadata": ["name": "d"], "spec": base.merged(with: spec)]
        let response = server.perform(
            APIRequest(method: "POST", target: Dataset.resource.path(namespace: "courses"), body: object.bytes))
        server.stop()
        return (response.status, (try JSON(parsing: response.body))["message"]?.string ?? "")
    }

    @Test(
        arguments: [
            (#"{"source": null}"#, "spec.source: Required value"),
            (#"{"source": {"s3": {"bucket": null}}}"#, "spec.source.s3.bucket: Required value"),
            (#"{"source": {"s3": {"bucket": "a/b"}}}"#, "should match"),
            (#"{"source": {"s3": {"bucket": "a..b"}}}"#, "must not contain '..'"),
            (#"{"source": {"s3": {"prefix": ""}}}"#, "spec.source.s3.prefix"),
            (#"{"source": {"s3": {"prefix": "a/../b"}}}"#, "prefix must not contain '.' or '..' as a directory"),
            (#"{"source": {"s3": {"prefix": "/a"}}}"#, "prefix must not begin with '/'"),
            (#"{"source": {"s3": {"endpoint": "minio:9000"}}}"#, "spec.source.s3.endpoint"),
            (#"{"source": {"s3": {"endpoint": "https://user:pw@host"}}}"#, "spec.source.s3.endpoint"),
            (#"{"source": {"nfs": {"server": "x", "path": "/x"}}}"#, "exactly one source must be set"),
            (#"{"source": {"s3": null, "nfs": {"server": "x"}}}"#, "spec.source.nfs.path: Required value"),
            (
                #"{"source": {"s3": null, "nfs": {"server": "x", "path": "/a/../b"}}}"#,
                "path must not contain '.' or '..'"
            ),
            (
                #"{"source": {"s3": null, "nfs": {"server": "x", "path": "/", "mountOptions": ["rw"]}}}"#,
                "rw, suid and dev aren't allowed"
            ),
            (
                #"{"source": {"s3": null, "nfs": {"server": "x", "path": "/"}}, "secretRef": {"name": "k"}}"#,
                "secretRef has no use with source.nfs"
            ),
            (#"{"source": {"s3": null, "http": {}}}"#, "url or urls must be set"),
            (
                #"{"source": {"s3": null, "http": {"url": "https://h/", "urls": ["https://h/x"]}}}"#,
                "url or urls must be set"
            ),
            (#"{"source": {"s3": null, "http": {"url": "https://u:p@h/"}}}"#, "spec.source.http.url"),
            (
                #"{"source": {"s3": null, "pachyderm": {"repo": "r"}}}"#,
                "spec.source.pachyderm.endpoint: Required value"
            ),
            (
                #"{"source": {"s3": null, "pachyderm": {"endpoint": "http://h", "repo": "a.b"}}}"#,
                "spec.source.pachyderm.repo"
            ),
            (
                #"{"source": {"s3": null, "pachyderm": {"endpoint": "http://h", "repo": "r"}}, "secretRef": null}"#,
                "secretRef is missing"
            ),
            (#"{"revision": {"policy": "Frozen"}}"#, "spec.revision.policy: Unsupported value"),
            (#"{"revision": {"keep": 0}}"#, "spec.revision.keep"),
            (#"{"revision": {"schedule": "daily at three"}}"#, "spec.revision.schedule"),
            (
                #"{"revision": {"policy": "Pinned"}, "source": {"s3": {"anonymous": true}}, "secretRef": null}"#,
                "revision.store is missing"
            ),
            (
                #"{"revision": {"policy": "Pinned"}, "source": {"s3": null, "http": {"url": "https://h/"}}}"#,
                "Pinned is possible for the sources"
            ),
            (
                #"{"revision": {"policy": "Pinned", "store": {"bucket": "sss", "prefix": "/x"}}}"#,
                "spec.revision.store.prefix"
            ),
            (#"{"secretRef": null}"#, "credentials are missing: set secretRef"),
            (#"{"source": {"s3": {"anonymous": true}}}"#, "secretRef and source.s3.anonymous: true exclude each other"),
            (#"{"secretRef": {"name": "Bad/Name"}}"#, "spec.secretRef.name"),
            (#"{"access": "ReadWrite"}"#, "spec.access: Unsupported value"),
            (#"{"allowedNamespaces": {"from": "Selector"}}"#, "selector must be set if from is Selector"),
            (#"{"allowedNamespaces": {"from": "All", "selector": {}}}"#, "selector must be set if from is Selector"),
            (#"{"allowedNamespaces": {"from": "Everyone"}}"#, "spec.allowedNamespaces.from: Unsupported value"),
            (#"{"publish": {"claimName": "x"}}"#, "spec.publish.namespaceSelector: Required value"),
            (#"{"publish": {"namespaceSelector": {}, "claimName": "Bad_Name"}}"#, "spec.publish.claimName"),
            (#"{"publish": {"namespaceSelector": {}, "capacity": "lots"}}"#, "spec.publish.capacity"),
            (#"{"mount": {"uid": -1}}"#, "spec.mount.uid"),
            (#"{"mount": {"metadataTTL": "soon"}}"#, "spec.mount.metadataTTL"),
            (#"{"mount": {"fileMode": "999"}}"#, "spec.mount.fileMode"),
            (#"{"revocation": "Later"}"#, "spec.revocation"),
            (#"{"source": {"s3": {"caBundle": "not pem"}}}"#, "caBundle must hold certificates in PEM"),
        ] as [(String, String)]) func refuses(_ spec: String, _ expected: String) throws
    {
        let (status, message) = try create(JSON(parsing: spec))
        #expect(status == 422)
        #expect(message.contains(expected), "\(message)")
    }

    @Test(arguments: [
        #"{}"#,
        #"{"source": {"s3": {"prefix": "a/b.c/", "endpoint": "https://s3.example.com:9000", "region": "eu-1"}}}"#,
        #"{"source": {"s3": {"anonymous": true}}, "secretRef": null}"#,
        #"{"source": {"s3": {"roleARN": "arn:aws:iam::1:role/x"}}, "secretRef": null}"#,
        #"{"allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"a": "b"}}}}"#,
        #"{"publish": {"namespaceSelector": {}, "capacity": "10Gi"}, "revocation": "Immediate"}"#,
        #"{"source": {"s3": null, "http": {"url": "https://h:8443/d/"}}, "secretRef": null}"#,
        #"{"source": {"s3": null, "http": {"urls": ["https://h/x", "https://h/y?a=b dir/name.bin"]}}}"#,
        #"{"source": {"s3": null, "pachyderm": {"endpoint": "http://pachd:30600", "repo": "r", "branch": "b", "commit": "c"}}}"#,
        #"{"revision": {"policy": "Pinned", "schedule": "0 3 * * *", "keep": 5}}"#,
        #"{"revision": {"policy": "Pinned", "schedule": "@daily", "store": {"bucket": "sss", "prefix": "x/", "secretRef": {"name": "k"}}}}"#,
        #"{"revision": {"policy": "Pinned", "store": {"bucket": "sss", "secretRef": {"name": "k"}}}, "source": {"s3": {"anonymous": true}}, "secretRef": null}"#,
        #"{"mount": {"metadataTTL": "immutable", "readAhead": "8Mi", "uid": 1000, "fileMode": "0444", "dirMode": "555"}}"#,
    ]) func takes(_ spec: String) throws {
        let (status, message) = try create(JSON(parsing: spec))
        #expect(status == 201, "\(message)")
    }

    /// A VolumeManager's volume: id, replicas, sourceType, accessMode, labels, options, nodeAffinity, tolerations.
    @Test("V1: all that a VolumeManager says of a volume has its place in a Dataset")
    func volumeManager() throws {
        let spec = try JSON(
            parsing: #"""
                {"access": "ReadOnly", "mount": {"readAhead": "8Mi", "uid": 1000},
                 "source": {"s3": {"prefix": "data/", "endpoint": "http://minio:9000"}},
                 "publish": {"namespaceSelector": {"matchLabels": {"team": "a"}}, "claimName": "vol1", "capacity": "5Gi"},
                 "warm": {"replicas": 2, "distribution": {"*.csv": 1, "*.bin": 2}, "schedule": "*/5 * * * *",
                  "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                   {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}]}},
                  "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]}}
                """#)
        let (status, message) = try create(spec)
        #expect(status == 201, "\(message)")
        var object: JSON = ["metadata": ["name": "vol1", "labels": ["key": "value"]]]
        object["spec"] = spec.merged(with: ["source": ["s3": ["bucket": "bkt"]]])
        let dataset = try JSONDecoder().decode(Dataset.self, from: Data(object.bytes))
        #expect(dataset.spec.warm?.replicas == 2 && dataset.spec.warm?.distribution == ["*.csv": 1, "*.bin": 2])
        #expect(dataset.spec.warm?.nodeAffinity != nil && dataset.spec.warm?.tolerations?.count == 1)
        #expect(dataset.metadata.labels == ["key": "value"] && dataset.spec.publish?.capacity == "5Gi")
    }

    @Test func theSwiftTypesKnowEveryFieldOfTheSchema() throws {
        let crd = try JSON(yaml: text(of: "charts/millrace/files/datasets.yaml"))
        let schema = try #require(crd.at("spec", "versions")?.array?[0].at("schema", "openAPIV3Schema"))
        let s3 = Set(
            schema.at("properties", "spec", "properties", "source", "properties", "s3", "properties")!.object!.keys)
        var source = Dataset.S3Source(bucket: "b")
        source.prefix = "x"
        source.endpoint = "x"
        source.region = "x"
        source.pathStyle = true
        source.anonymous = true
        source.requesterPays = true
        source.caBundle = "x"
        source.roleARN = "x"
        source.stsEndpoint = "x"
        let view = DatasetView(source: source)
        // Each of them reaches the node.
        #expect(s3.subtracting(view.attributes(forNamespace: "n").keys).isEmpty)
        #expect(s3.allSatisfy(ClassParameters.known.contains))
    }
}
