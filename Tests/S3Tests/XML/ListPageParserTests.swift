import TestSupport
import Testing

@testable import S3

@Suite struct ListPageParserTests {
    private func parse(_ document: String, pieces: Int = 1 << 20, prefix: String = "", after: String? = nil) -> Result<
        ListPage, MalformedList
    > {
        let parser = ListPageParser()
        let bytes = Array(document.utf8)
        for start in stride(from: 0, to: bytes.count, by: pieces) {
            let piece = bytes[start..<min(bytes.count, start + pieces)]
            if let problem = piece.withUnsafeBytes({ parser.parse($0) }) {
                return .failure(MalformedList(why: problem))
            }
        }
        return parser.finish(prefix: ObjectKey(prefix), after: after.map { ObjectKey($0) })
    }

    private func document(_ inner: String) -> String {
        "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\(inner)</ListBucketResult>"
    }
    private func object(_ key: String, _ more: String = "") -> String {
        "<Contents><Key>\(key)</Key><ETag>&quot;e-\(key)&quot;</ETag><Size>7</Size>\(more)</Contents>"
    }

    @Test func ofVersionsTheLatestThatIsThereIsTaken() throws {
        func version(_ key: String, _ id: String, latest: Bool, _ name: String = "Version") -> String {
            let data = name == "Version" ? "<ETag>&quot;e&quot;</ETag><Size>7</Size>" : ""
            return
                "<\(name)><Key>\(key)</Key><VersionId>\(id)</VersionId><IsLatest>\(latest)</IsLatest>\(data)</\(name)>"
        }
        let text =
            "<ListVersionsResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
            + "<NextKeyMarker>c%2Bd</NextKeyMarker><NextVersionIdMarker>v/5</NextVersionIdMarker>"
            + version("a", "v2", latest: true) + version("a", "v1", latest: false)
            + version("b", "v3", latest: true, "DeleteMarker") + version("b", "v2", latest: false)
            + version("c%2Bd", "null", latest: true) + "</ListVersionsResult>"
        let parser = ListPageParser(ofVersions: true)
        #expect(Array(text.utf8).withUnsafeBytes { parser.parse($0) } == nil)
        let page = try parser.finish(prefix: ObjectKey(""), after: nil).get()
        #expect(page.objects.map { String(decoding: page.bytes[$0.key], as: UTF8.self) } == ["a", "c+d"])
        #expect(page.objects.map { String(decoding: page.bytes[$0.version], as: UTF8.self) } == ["v2", "null"])
        #expect(page.nextToken == "c%2Bd v%2F5")
        // A server that knows no versions answers a plain listing, or the other way round.
        let plain = ListPageParser(ofVersions: true)
        #expect(Array("<ListBucketResult></ListBucketResult>".utf8).withUnsafeBytes { plain.parse($0) } != nil)
    }

    @Test(arguments: [1, 2, 7, 4096]) func readsAPageInPiecesOfAnySize(pieces: Int) throws {
        let text = document(
            "<Prefix>a</Prefix><IsTruncated>true</IsTruncated><NextContinuationToken>to&amp;ken</NextContinuationToken>"
                + object(
                    "a%2Bb+c%0A%C3%BC",
                    "<LastModified>2009-10-12T17:50:30.000Z</LastModified><StorageClass>STANDARD</StorageClass>")
                + object("b", "<StorageClass>DEEP_ARCHIVE</StorageClass>")
                + object(
                    "c",
                    "<StorageClass>GLACIER</StorageClass><RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress>"
                        + "<RestoreExpiryDate>2030-01-01T00:00:00Z</RestoreExpiryDate></RestoreStatus>")
                + object(
                    "d", "<Owner><ID>x</ID><DisplayName>y</DisplayName></Owner><StorageClass>GLACIER_IR</StorageClass>")
                + "<CommonPrefixes><Prefix>e%2F/</Prefix></CommonPrefixes><EncodingType>url</EncodingType>")
        let page = try parse(text, pieces: pieces).get()
        #expect(page.keys == ["a+b c\nü", "b", "c", "d"].map { ObjectKey($0) })
        #expect(page.objects.map(\.isReadable) == [true, false, true, true])
        #expect(page.objects[0].modified == 1_255_369_830 && page.objects[0].size == 7)
        #expect(String(decoding: page.bytes[page.objects[1].etag], as: UTF8.self) == "e-b")
        #expect(page.prefixKeys == [ObjectKey("e//")])
        #expect(page.nextToken == "to&ken")
    }

    @Test func withoutAnEncodingTypeKeysAreTakenAsTheyAre() throws {
        #expect(try parse(document(object("a%2Bb+c"))).get().keys == [ObjectKey("a%2Bb+c")])
    }

    @Test func whatWasNotAskedForIsLeftOutAndTheRestSorted() throws {
        let text = document(["b3", "b1", "a", "b2", "c"].map { object($0) }.joined())
        #expect(try parse(text, prefix: "b", after: "b1").get().keys == [ObjectKey("b2"), ObjectKey("b3")])
    }

    @Test(arguments: [
        "", "<", "<a/>", "<Error><Code>x</Code></Error>", "not xml",
        "<ListBucketResult><Contents><Key>k</Key></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>k</Key><Size>-1</Size></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>k</Key><Size>99999999999999999999</Size></Contents></ListBucketResult>",
        "<ListBucketResult><CommonPrefixes/></ListBucketResult>", "<ListBucketResult/><ListBucketResult/>",
        "<ListBucketResult>&undefined;</ListBucketResult>", "<ListBucketResult><a b='1' b='2'/></ListBucketResult>",
        "<ListBucketResult><Contents></ListBucketResult>",
    ])
    func whatIsNoListingIsRefused(text: String) {
        guard case .failure(let malformed) = parse(text) else {
            Issue.record("taken")
            return
        }
        #expect(!malformed.why.isEmpty)
    }

    @Test(arguments: HostileXML.allCases) func hostileDocumentsEndQuicklyInAnError(kind: HostileXML) {
        guard kind != .sameToken else { return }  // Well-formed by itself; the client refuses it.
        let bytes = kind.document
        let parser = ListPageParser()
        var problem: String?
        var fed = 0
        for start in stride(from: 0, to: bytes.count, by: 16 << 10) where problem == nil {
            let piece = bytes[start..<min(bytes.count, start + (16 << 10))]
            problem = piece.withUnsafeBytes { parser.parse($0) }
            fed += piece.count
        }
        if problem == nil, case .failure(let malformed) = parser.finish(prefix: ObjectKey(""), after: nil) {
            problem = malformed.why
        }
        #expect(problem != nil)
        #expect(fed <= 128 << 10, "it was read on for \(fed) bytes")
    }

    @Test func errorsAreReadWhateverTheirRoot() {
        let fields = XMLFields.parse(
            Array("<E><Error><Code> X </Code><Message>m &lt;</Message></Error><RequestId/></E>".utf8))
        #expect(fields?["Code"] == " X " && fields?["Message"] == "m <" && fields?["Error"] == nil)
        #expect(XMLFields.parse(Array("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>".utf8)) == nil)
        #expect(XMLFields.parse([]) == nil)
    }
}
