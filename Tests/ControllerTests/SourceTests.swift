import Kubernetes
import KubernetesTestSupport
import Testing

@testable import Controller

/// Kinds of sources: what volumes are made of them, and what is refused.
@Suite struct SourceTests {
    private func attributes(_ source: Dataset.Source, subPath: String? = nil) -> [String: String] {
        var dataset = Dataset(metadata: ObjectMeta(name: "d", namespace: "n"), spec: Dataset.Spec(source: source))
        dataset.metadata.uid = "uid"
        return DatasetView(dataset, subPath: subPath).attributes(forNamespace: "team")
    }

    @Test("V9: repo, branch, commit and project are a bucket of Pachyderm's gateway") func pachyderm() {
        var source = Dataset.PachydermSource(endpoint: "http://pachd:30600", repo: "images")
        #expect(source.bucketName == "master.images")
        source.branch = "staging"
        source.project = "vision"
        source.path = "train"
        #expect(source.bucketName == "staging.images.vision")
        let live = attributes(Dataset.Source(pachyderm: source), subPath: "cats")
        #expect(live["bucket"] == "staging.images.vision" && live["prefix"] == "train/cats/")
        #expect(live["endpoint"] == "http://pachd:30600" && live["pathStyle"] == "true" && live["immutable"] == nil)
        source.commit = "0123abcd"
        let pinned = attributes(Dataset.Source(pachyderm: source))
        #expect(pinned["bucket"] == "0123abcd.staging.images.vision" && pinned["immutable"] == "true")
    }

    @Test("V9: a token is both keys") func token() throws {
        let credentials = try SourceCredentials(secret: ["token": "t0ken\n"], named: "n/s")
        #expect(credentials.accessKeyID == "t0ken" && credentials.secretAccessKey == "t0ken")
    }

    @Test func http() {
        let index = attributes(Dataset.Source(http: .init(url: "https://h/d/")), subPath: "a/b")
        #expect(index["url"] == "https://h/d/a/b/" && index["bucket"] == nil && index["prefix"] == nil)
        let list = attributes(Dataset.Source(http: .init(urls: ["https://h/x", "https://h/y z.bin"])))
        #expect(list["urls"] == "https://h/x\nhttps://h/y z.bin" && list["url"] == nil)
    }

    @Test func whatIsWrongIsNamed() {
        func problem(_ source: Dataset.Source) -> String { source.problem ?? "" }
        #expect(problem(Dataset.Source()).contains("none of"))
        #expect(
            problem(Dataset.Source(s3: .init(bucket: "bkt"), http: .init(url: "https://h/"))).contains("more than one"))
        #expect(problem(Dataset.Source(http: .init())).contains("spec.source.http.url or urls"))
        #expect(problem(Dataset.Source(http: .init(url: "ftp://h/"))).contains("spec.source.http.url must be a URL"))
        #expect(problem(Dataset.Source(http: .init(urls: ["https://h/a", "https://u:p@h/"]))).contains("urls[1]"))
        var pachyderm = Dataset.PachydermSource(endpoint: "http://h", repo: "a.b")
        #expect(problem(Dataset.Source(pachyderm: pachyderm)).contains("spec.source.pachyderm.repo is \"a.b\""))
        pachyderm.repo = "a"
        pachyderm.branch = ""
        #expect(problem(Dataset.Source(pachyderm: pachyderm)).contains("branch"))
        pachyderm.branch = nil
        #expect(Dataset.Source(pachyderm: pachyderm).problem == nil)
    }

    // MARK: Revisions

    private func pinned(_ ids: [String]) -> Dataset {
        var spec = Dataset.Spec(source: Dataset.Source(s3: .init(bucket: "bkt")))
        spec.secretRef = Dataset.LocalReference(name: "keys")
        spec.revision = Dataset.Revision(policy: "Pinned")
        spec.revision?.rollForward = false
        var dataset = Dataset(metadata: ObjectMeta(name: "d", namespace: "n"), spec: spec)
        let source = dataset.sourceDigest
        dataset.status = Dataset.Status()
        dataset.status?.revisions = ids.map {
            Dataset.RevisionRecord(
                id: $0, manifest: "s3://bkt/\($0)", createdAt: "", objects: 1, bytes: 1, digest: $0, source: source)
        }
        return dataset
    }

    @Test func aVolumeShowsTheNewestRevisionAndKeepsIt() {
        let first = DatasetView(pinned(["r1"]), subPath: nil)
        let second = DatasetView(pinned(["r1", "r3", "r2"]), subPath: nil)
        #expect(first.attributes(forNamespace: "n")["manifest"] == "s3://bkt/r1")
        #expect(second.attributes(forNamespace: "n")["millrace.dev/revision"] == "r3")
        // A newer revision is no reason to make a volume anew; another policy is.
        #expect(first.digest == second.digest)
        var live = pinned(["r1"])
        live.spec.revision?.policy = "Live"
        #expect(DatasetView(live, subPath: nil).digest != first.digest)
        #expect(DatasetView(live, subPath: nil).attributes(forNamespace: "n")["manifest"] == nil)
    }

    @Test("C11: a volume that rolls forward names the pointer, and isn't made before that is there")
    func rollForward() {
        var dataset = pinned(["r1"])
        dataset.spec.revision?.rollForward = nil
        dataset.status?.revisions?[0].manifest = "s3://bkt/.millrace/revisions/u/r1.manifest"
        #expect(DatasetView(dataset, subPath: nil).revision == nil)
        dataset.status?.revision = Dataset.RevisionState(phase: "Ready", message: "")
        dataset.status?.revision?.current = "r1"
        let attributes = DatasetView(dataset, subPath: nil).attributes(forNamespace: "n")
        #expect(attributes["manifest"] == "s3://bkt/.millrace/revisions/u/newest")
        #expect(attributes["millrace.dev/revision"] == "newest")
    }

    @Test func aPublicSourcesManifestIsReadWithTheStoresKeys() {
        var dataset = pinned(["r1"])
        dataset.spec.source.s3?.anonymous = true
        dataset.spec.secretRef = nil
        dataset.spec.revision?.store = Dataset.Store(bucket: "store")
        dataset.spec.revision?.store?.secretRef = Dataset.LocalReference(name: "store-keys")
        #expect(DatasetView(dataset, subPath: nil).secret == SecretReference(name: "store-keys", namespace: "n"))
    }

    @Test func claimsAreLookedAtWhenARevisionComes() {
        var tables = Tables()
        _ = tables.updated(pinned([]))
        #expect(tables.updated(pinned(["r1"])).contains(.dataset(pinned([]).key)))
        #expect(tables.updated(pinned(["r1"])).isEmpty)
        var building = pinned(["r1"])
        building.status?.revision = Dataset.RevisionState(phase: "Building", message: "")
        #expect(tables.updated(building) == [.dataset(building.key)])
    }
}
