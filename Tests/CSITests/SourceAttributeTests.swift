import NodeProtocol
import Testing

@testable import CSI

/// Volume attributes of other sources than a live bucket.
@Suite struct SourceAttributeTests {
    private let pinned = [
        "bucket": "b", "prefix": "p", "manifest": "s3://store/x/r1.manifest", "millrace.dev/revision": "r1",
    ]

    @Test func aRevisionIsAnotherSession() throws {
        let view = try VolumeAttributes(pinned).view
        #expect(view.revision == SessionSpec.Revision(id: "r1", bucket: "store", key: "x/r1.manifest"))
        #expect(view.metadataTTLMs == .max)
        var other = pinned
        other["manifest"] = "s3://store/x/r2.manifest"
        other["millrace.dev/revision"] = "r2"
        #expect(try VolumeAttributes(other).view != view)
        other["manifest"] = nil
        other["millrace.dev/revision"] = "Live"
        #expect(try VolumeAttributes(other).view.revision == nil)
    }

    @Test("C11: a volume that rolls forward shows what the pointer leads to")
    func pointer() throws {
        var view = try VolumeAttributes([
            "bucket": "b", "manifest": "s3://store/x/newest", "millrace.dev/revision": "newest",
        ]).view
        #expect(view.revision?.pointer == "x/newest")
        view.show(revision: "r7")
        #expect(view.revision?.id == "r7" && view.revision?.key == "x/r7.manifest")
        var pinned = try VolumeAttributes(pinned).view
        let before = pinned
        pinned.show(revision: "r7")
        #expect(pinned == before)
    }

    @Test func keysOfAPublicDatasetAreForItsManifest() throws {
        let attributes = try VolumeAttributes(
            pinned.merging(["anonymous": "true", "manifestEndpoint": "http://s:9"]) { $1 })
        #expect(
            attributes.view.revision?.isDatasetAnonymous == true && attributes.view.revision?.endpoint == "http://s:9")
        let secrets = try VolumeSecrets(["accessKeyID": "id", "secretAccessKey": "s"])
        #expect(
            try secrets.credentials(for: attributes)
                == .keys(accessKeyID: "id", secretAccessKey: Secret("s"), sessionToken: nil))
        #expect(try VolumeSecrets([:]).credentials(for: attributes) == .anonymous)
    }

    @Test(
        arguments: [
            (["manifest": "store/x"], "s3://bucket/key"), (["manifest": "s3://store"], "s3://bucket/key"),
            (["manifest": "s3://sto re/x"], "bucket's name"), (["millrace.dev/revision": ""], "millrace.dev/revision"),
            (["manifestEndpoint": "ftp://x"], "manifestEndpoint"),
        ] as [([String: String], String)]) func wrongRevisionsAreRefused(_ change: [String: String], _ words: String)
    {
        let message = RequestTests.message { () throws(Refusal) in
            _ = try VolumeAttributes(pinned.merging(change) { $1 })
        }
        #expect(message.contains(words), "\(message)")
    }

    @Test func aWebServerNeedsNoBucket() throws {
        let index = try VolumeAttributes(["url": "https://h/d/"])
        #expect(index.view.web == SessionSpec.Web(url: "https://h/d/") && index.view.bucket == "https://h/d/")
        let list = try VolumeAttributes(["urls": "https://h/x\nhttps://h/y dir/z"])
        #expect(list.view.web?.urls.count == 2 && !list.view.bucket.isEmpty)
        #expect(try VolumeSecrets([:]).credentials(for: index) == .anonymous)
        let login = try VolumeSecrets(["username": "u", "password": "p", "header.X-Key": "k"])
        #expect(
            try login.credentials(for: index) == .headers([Secret("X-Key: k"), Secret("Authorization: Basic dTpw")]))
        // C4: as CDI spells them.
        let cdi = try VolumeSecrets(["accessKeyId": "u", "secretKey": "p"])
        #expect(try cdi.credentials(for: index) == .headers([Secret("Authorization: Basic dTpw")]))
    }

    @Test(
        arguments: [
            (["url": "https://h/", "urls": "https://h/x"], "exclude each other"),
            (["url": "https://h/", "bucket": "b"], "exclude each other"),
            (["url": "https://u:p@h/"], "without a user"), (["urls": "https://h/x\nftp://h/y"], "urls"),
            (["url": "https://h/", "manifest": "s3://a/b"], "exclude each other"),
        ] as [([String: String], String)]) func wrongURLsAreRefused(_ context: [String: String], _ words: String)
    {
        let message = RequestTests.message { () throws(Refusal) in _ = try VolumeAttributes(context) }
        #expect(message.contains(words), "\(message)")
    }

    @Test("V9: a token is both keys") func pachyderm() throws {
        let attributes = try VolumeAttributes(["bucket": "master.images"])
        #expect(
            try VolumeSecrets(["token": "t\n"]).credentials(for: attributes)
                == .keys(accessKeyID: "t", secretAccessKey: Secret("t"), sessionToken: nil))
    }
}
