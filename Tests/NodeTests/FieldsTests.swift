import Testing

@testable import NodeProtocol

@Suite struct FieldsTests {
    static let sample: Fields = {
        var fields = Fields()
        fields.add(1, "text with \u{1F30A}")
        fields.add(2, -42)
        fields.add(3, true)
        fields.add(4, [0, 255, 7] as [UInt8])
        fields.add(4, [] as [UInt8])
        return fields
    }()

    @Test func whatWasWrittenIsRead() throws {
        let read = try Fields(decoding: Self.sample.encoded)
        #expect(read == Self.sample)
        #expect(read.text(1) == "text with \u{1F30A}")
        #expect(read.number(2) == -42)
        #expect(read.flag(3) == true)
        #expect(read.all(4) == [[0, 255, 7], []])
        #expect(read.text(9) == nil)
    }

    @Test func everyTruncationIsAnErrorOrFewerFields() throws {
        let bytes = Self.sample.encoded
        for count in 0..<bytes.count {
            if let read = try? Fields(decoding: bytes.prefix(count)) {
                // Only a cut between two fields reads, and then as a prefix of them.
                #expect(bytes.starts(with: read.encoded) && read.encoded.count == count)
            }
        }
    }

    @Test func aHugeAnnouncedLengthIsRefused() {
        #expect(throws: NodeError.self) { try Fields(decoding: [1, 0, 255, 255, 255, 255, 0]) }
        #expect(throws: NodeError.self) { try Fields(decoding: [UInt8](repeating: 0, count: Fields.maxBytes + 6)) }
    }

    static let spec: SessionSpec = {
        var spec = plainSpec
        spec.dataset = "courses/iris"
        spec.cachePriority = 0
        spec.isCachePinned = true
        spec.cacheQuotaBytes = 300 << 30
        return spec
    }()
    private static let plainSpec = SessionSpec(
        bucket: "b", prefix: "p/", endpoint: "http://h:1", region: "eu-west-1", pathStyle: false, requesterPays: true,
        metadataTTLMs: .max, readAheadBytes: 4 << 20, uid: 1000, gid: 2000, fileMode: 0o440, directoryMode: 0o550,
        caBundlePEM: "-----BEGIN", stsEndpoint: "http://sts", scope: "abc")

    @Test func aSpecSurvivesTheWire() throws {
        #expect(try SessionSpec(Fields(decoding: Self.spec.fields.encoded)) == Self.spec)
        let least = SessionSpec(bucket: "b")
        #expect(try SessionSpec(least.fields) == least)
    }

    @Test func otherSourcesSurviveTheWireToo() throws {
        var pinned = Self.spec
        pinned.revision = SessionSpec.Revision(id: "r1", bucket: "store", key: "a/b")
        pinned.revision?.endpoint = "http://store:1"
        pinned.revision?.region = "r"
        pinned.revision?.pathStyle = true
        pinned.revision?.isDatasetAnonymous = true
        pinned.revision?.pointer = "a/newest"
        #expect(try SessionSpec(Fields(decoding: pinned.fields.encoded)) == pinned)
        for web in [
            SessionSpec.Web(url: "http://h/"), SessionSpec.Web(url: nil, urls: ["http://h/a", "http://h/b c"]),
        ] {
            let spec = SessionSpec(bucket: "b", web: web)
            #expect(try SessionSpec(Fields(decoding: spec.fields.encoded)) == spec)
        }
    }

    @Test func aSpecOfALaterVersionIsRead() throws {
        var fields = Self.spec.fields
        fields.add(999, "what this version has never heard of")
        #expect(try SessionSpec(fields) == Self.spec)
    }

    @Test(arguments: [
        SessionCredentials.anonymous,
        .keys(accessKeyID: "AKIA", secretAccessKey: Secret("s3cr3t"), sessionToken: nil),
        .keys(accessKeyID: "AKIA", secretAccessKey: Secret("s3cr3t"), sessionToken: Secret("t0ken")),
        .webIdentity(roleARN: "arn:aws:iam::1:role/r", token: Secret("s3cr3t")),
        .headers([Secret("Authorization: Basic s3cr3t"), Secret("X: t0ken")]),
    ])
    func credentialsSurviveSealedMemoryAndPrintRedacted(_ credentials: SessionCredentials) throws {
        let memory = try credentials.sealed()
        #expect(try SessionCredentials(sealed: memory) == credentials)
        var dumped = ""
        dump(credentials, to: &dumped)
        for text in ["\(credentials)", String(reflecting: credentials), dumped] {
            #expect(!text.contains("s3cr3t") && !text.contains("t0ken"))
        }
    }
}
