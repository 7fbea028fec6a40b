import Testing

@testable import S3

@Suite struct ResponseHeadTests {
    private func head(_ lines: String...) -> ResponseHead {
        var head = ResponseHead()
        for line in lines { Array(line.utf8).withUnsafeBytes { head.add($0) } }
        return head
    }

    @Test func readsWhatTheClientLooksAt() {
        let head = head(
            "HTTP/1.1 206 Partial Content", "content-RANGE: bytes 5-9/100", "Content-Length:5", "ETag: W/\"abc\"",
            "Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT", "x-amz-storage-class: GLACIER",
            "x-amz-restore: ongoing-request=\"false\", expiry-date=\"Fri, 23 Dec 2030 00:00:00 GMT\"", "junk", "",
            "ETag: late")
        #expect(head.status == 206 && head.isComplete && head.contentLength == 5)
        #expect(head.contentRange?.range == 5..<10 && head.contentRange?.total == 100)
        #expect(head.etag == "abc" && head.modified == 1_445_412_480 && head.isReadable)
    }

    @Test func aHeadBeforeTheLastIsForgotten() {
        let head = head("HTTP/1.1 100 Continue", "ETag: \"x\"", "", "HTTP/1.1 200 OK", "")
        #expect(head.status == 200 && head.etag == nil && head.isComplete)
    }

    @Test(arguments: [
        "bytes 5-4/10", "bytes 0-10/10", "bytes -5/10", "bytes 0-9", "bytes 0-9/", "items 0-9/10",
        "bytes 0-18446744073709551615/*",
        "bytes 0-9/99999999999999999999", "bytes */10", "",
    ])
    func rangesThatMakeNoSenseAreRefused(text: String) {
        #expect(Array(text.utf8).withUnsafeBytes { ContentRange($0) } == nil)
    }

    @Test(
        arguments: [
            ("2009-10-12T17:50:30.000Z", 1_255_369_830), ("2009-10-12T17:50:30Z", 1_255_369_830),
            ("2009-10-12T17:50:30", 1_255_369_830),
            ("2009-10-12T18:50:30+01:00", 1_255_369_830), ("1969-12-31T23:59:59Z", -1), ("2009-13-12T17:50:30Z", nil),
            ("2009-10-12 17:50:30Z", nil), ("2009-10-12T17:50:30Zx", nil), ("", nil),
        ] as [(String, Int64?)])
    func datesOfListings(text: String, expected: Int64?) {
        #expect(Dates.parseISO8601(text) == expected)
    }
}
