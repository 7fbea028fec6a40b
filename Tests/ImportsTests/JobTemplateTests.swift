import Kubernetes
import Testing

@testable import Imports

@Suite struct JobTemplateTests {
    private func item(_ change: (inout DatasetImport.Spec) -> Void) -> DatasetImport {
        var spec = DatasetImport.Spec(source: DatasetImport.Source())
        change(&spec)
        return DatasetImport(metadata: ObjectMeta(name: "iris", namespace: "team"), spec: spec)
    }

    private func job(_ change: (inout DatasetImport.Spec) -> Void, _ settings: JobTemplate.Settings? = nil) -> JSON {
        let owner = OwnerReference(apiVersion: "v1", kind: "X", name: "x", uid: "u")
        let template = JobTemplate(settings ?? JobTemplate.Settings(image: "millrace:test"))
        return template.job("import-u", for: item(change), filling: "golden", owner: owner, uid: "u").spec!
    }

    private func container(_ job: JSON) -> JSON { job.at("template", "spec", "containers")!.array![0] }
    private func arguments(_ job: JSON) -> [String] { container(job)["args"]!.array!.compactMap(\.string) }

    @Test("C4: S3 and URLs, with a CA, headers and the endpoint, become a copy's arguments")
    func arguments() {
        let s3 = job {
            $0.source.s3 = DatasetImport.S3Source(bucket: "bkt")
            $0.source.s3?.prefix = "testset"
            $0.source.s3?.endpoint = "http://obj:9000"
            $0.certConfigMap = .init(name: "ca")
            $0.directory = "sub"
        }
        #expect(arguments(s3).suffix(3) == ["--", "s3://bkt/testset", "/data/sub/"])
        #expect(arguments(s3).contains("--string-prefix") && arguments(s3).contains("--limit-addresses"))
        #expect(arguments(s3).contains("--ca-bundle=/run/millrace/authorities"))
        #expect(container(s3)["env"]!.array!.contains(["name": "IMPORTER_ENDPOINT", "value": "http://obj:9000"]))
        let directory = job {
            $0.source.s3 = DatasetImport.S3Source(bucket: "bkt")
            $0.source.s3?.prefix = "testset/"
        }
        #expect(!arguments(directory).contains("--string-prefix"))
        var settings = JobTemplate.Settings(image: "x")
        settings.allowedAddresses = ["10.0.0.0/8"]
        let web = job(
            {
                $0.source.http = DatasetImport.HTTPSource(urls: ["https://a/x", "https://b/y"])
                $0.extraHeadersSecret = .init(name: "h")
            }, settings)
        #expect(arguments(web).suffix(4) == ["--", "https://a/x", "https://b/y", "/data/"])
        #expect(arguments(web).contains("--headers-file=/run/millrace/headers"))
        #expect(arguments(web).contains("--allow-address=10.0.0.0/8"))
    }

    @Test("C3: the Job's environment names the Secret's keys, never their values")
    func secrets() {
        let job = job {
            $0.source.s3 = DatasetImport.S3Source(bucket: "bkt")
            $0.secretRef = .init(name: "keys")
        }
        let environment = container(job)["env"]!.array!
        for (name, key) in [("IMPORTER_ACCESS_KEY_ID", "accessKeyId"), ("IMPORTER_SECRET_KEY", "secretKey")] {
            let reference: JSON = ["name": "keys", "key": .string(key), "optional": true]
            #expect(environment.contains(["name": .string(name), "valueFrom": ["secretKeyRef": reference]]))
        }
        #expect(arguments(job).contains("--credentials-dir=/run/millrace/keys"))
        #expect(
            job.at("template", "spec", "volumes")!.array!.contains(["name": "keys", "secret": ["secretName": "keys"]]))
    }

    @Test("C7: checksums are passed on")
    func checksums() {
        let job = job {
            $0.source.s3 = DatasetImport.S3Source(bucket: "bkt")
            $0.checksum = "md5:00"
            $0.checksumsConfigMap = .init(name: "sums")
            $0.verify = true
        }
        #expect(arguments(job).contains("--checksum=md5:00") && arguments(job).contains("--verify"))
        #expect(arguments(job).contains("--checksums=/run/millrace/checksums"))
    }

    @Test("C9: retries have an end, and a final failure has none")
    func retries() {
        let job = job {
            $0.source.s3 = DatasetImport.S3Source(bucket: "bkt")
            $0.retries = 2
            $0.activeDeadlineSeconds = 60
        }
        #expect(job["backoffLimit"] == 2 && job["activeDeadlineSeconds"] == 60)
        let rule = job.at("podFailurePolicy", "rules")!.array![0]
        #expect(rule["action"] == "FailJob" && rule.at("onExitCodes", "values") == [2, 3])
        #expect(job.at("template", "spec", "restartPolicy") == "Never")
    }

    @Test(
        "specs that no schema can judge are refused with what to do",
        arguments: [
            "source", "target", "schedule", "directory", "bucket",
        ])
    func problems(kind: String) throws {
        let item = item {
            if kind != "source" { $0.source.s3 = DatasetImport.S3Source(bucket: kind == "bucket" ? nil : "bkt") }
            if kind == "target" { ($0.claimName, $0.claimTemplate) = ("a", .init(capacity: "1Gi")) }
            if kind == "schedule" { ($0.schedule, $0.claimTemplate) = ("61 * * * *", .init(capacity: "1Gi")) }
            if kind == "directory" { $0.directory = "../x" }
        }
        #expect(!(try #require(ImportCheck.problem(item))).message.isEmpty)
    }
}
