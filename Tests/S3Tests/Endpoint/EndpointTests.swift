import Testing

@testable import S3

@Suite struct EndpointTests {
    @Test func locatesBucketsByPathAndByHost() throws {
        var endpoint = try Endpoint(url: "http://Minio.local:9000/s3/", region: "r")
        #expect(endpoint.description == "http://minio.local:9000/s3")
        #expect(endpoint.locate(bucket: "b", key: ObjectKey("a/b c")) == ("minio.local:9000", "/s3/b/a/b%20c"))
        #expect(endpoint.locate(bucket: "b", key: nil) == ("minio.local:9000", "/s3/b"))
        endpoint.addressing = .virtualHost
        #expect(endpoint.locate(bucket: "b", key: ObjectKey("/x")) == ("b.minio.local:9000", "/s3//x"))
        let aws = Endpoint.aws(region: "eu-west-1")
        #expect(aws.locate(bucket: "bucket", key: nil) == ("bucket.s3.eu-west-1.amazonaws.com", "/"))
        // A dot would not match the certificate.
        #expect(aws.locate(bucket: "my.bucket", key: nil) == ("s3.eu-west-1.amazonaws.com", "/my.bucket"))
        #expect(Endpoint.aws(region: "cn-north-1").host == "s3.cn-north-1.amazonaws.com.cn")
        #expect(try Endpoint(url: "https://h:443").locate(bucket: "b", key: nil).host == "h")
        #expect(try Endpoint(url: "http://[FD00::1]:80").locate(bucket: "b", key: nil).host == "[fd00::1]")
    }

    @Test func anotherRegionMovesOnlyAWSsHost() throws {
        var aws = Endpoint.aws(region: "us-east-1")
        aws.setRegion("eu-west-1")
        #expect(aws.host == "s3.eu-west-1.amazonaws.com")
        var other = try Endpoint(url: "http://h")
        other.setRegion("eu-west-1")
        #expect(other.host == "h" && other.region == "eu-west-1")
    }

    @Test(arguments: [
        ("ftp://h", "neither http nor https"), ("http://", "no host"), ("http://h:0", "port"),
        ("http://h:99999", "port"),
        ("http://h:x", "port"), ("http://u:password@h", "user name"), ("http://h?q", "query"),
        ("http://h/a b", "blank"),
        ("http://h\r\nX: y", "character"), ("http://[::1", "\"]\""), ("http://[x]", "IPv6"), ("", "no host"),
        ("http://h/\u{e9}", "percent-encoded"), ("http://[::1]x", "port"),
    ])
    func mistakesInAURLAreNamed(url: String, words: String) {
        #expect {
            try Endpoint(url: url)
        } throws: {
            let text = ($0 as! EndpointError).description
            return text.contains(words) && !text.contains("password") && !text.contains("\n")
        }
    }

    @Test func keysAreEncodedByteByByte() {
        let all = (0...255).map { UInt8($0) }
        var encoded: [UInt8] = []
        PercentEncoding.append(all, to: &encoded, keepsSlash: true)
        #expect(encoded.allSatisfy { $0 > 0x20 && $0 < 0x7F })
        let count = encoded.withUnsafeMutableBufferPointer { PercentEncoding.decodeForm($0) }
        #expect(Array(encoded[..<count]) == all)
        #expect(PercentEncoding.encode("a/b~-_.%+".utf8, keepsSlash: false) == "a%2Fb~-_.%25%2B")
        var odd = Array("%zz%4%".utf8)
        #expect(odd.withUnsafeMutableBufferPointer { PercentEncoding.decodeForm($0) } == 6)
        // A listing that was asked for with encoding-type=url has "+" for a space; in a path it is itself.
        var plus = Array("a+b%2Bc".utf8)
        let length = plus.withUnsafeMutableBufferPointer { PercentEncoding.decodeForm($0) }
        #expect(plus.prefix(length).elementsEqual("a b+c".utf8))
        #expect(PercentEncoding.decodePath("a+b%2Bc%zz%4") == Array("a+b+c%zz%4".utf8))
    }

    @Test func bucketsNamesAreChecked() {
        for name in ["abc", "my.bucket-1", "Upper_Case"] { #expect(BucketName.problem(name) == nil) }
        for name in ["", "a/b", "a b", "..", "bücket", String(repeating: "a", count: 256)] {
            #expect(BucketName.problem(name) != nil)
        }
    }

    @Test func listingsAskWithSortedAndEncodedParameters() {
        var request = ListRequest(
            prefix: ObjectKey("a b/"), delimiter: UInt8(ascii: "/"), startAfter: ObjectKey("x&"), maxKeys: 5000)
        #expect(
            ListOperation.query(request)
                == "delimiter=%2F&encoding-type=url&list-type=2&max-keys=1000&prefix=a%20b%2F&start-after=x%26")
        request.continuationToken = "t="
        #expect(ListOperation.query(request).hasPrefix("continuation-token=t%3D&delimiter"))
        #expect(!ListOperation.query(request).contains("start-after"))
    }
}
