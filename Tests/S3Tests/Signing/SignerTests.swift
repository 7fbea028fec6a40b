import Testing

@testable import S3

/// AWS's published examples.
@Suite struct SignerTests {
    private func signature(
        _ signer: Signer, _ credentials: Credentials, _ time: Int64, _ method: String, _ path: String, _ query: String,
        _ headers: [(String, String)], payload: String = Digest.emptyHex
    ) -> String {
        let request = Signer.Request(
            method: method, path: path, query: query, headers: headers.map { (name: $0.0, value: $0.1) },
            payloadHash: payload)
        let header = signer.authorization(request, credentials, region: "us-east-1", time: time)
        return String(header.split(separator: "=").last!)
    }

    // The S3 reference: "Signature Calculations for the Authorization Header: Transferring Payload in a Single Chunk".
    static let s3Credentials = Credentials(
        accessKeyID: "AKIAIOSFODNN7EXAMPLE", secretAccessKey: Secret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"))
    static let s3Time: Int64 = 1_369_353_600  // 20130524T000000Z

    @Test func matchesTheS3ReferencesExamples() {
        let signer = Signer()
        let host = ("host", "examplebucket.s3.amazonaws.com")
        let hash = ("x-amz-content-sha256", Digest.emptyHex)
        let date = ("x-amz-date", "20130524T000000Z")
        func sign(_ path: String, _ query: String, _ headers: [(String, String)]) -> String {
            signature(signer, Self.s3Credentials, Self.s3Time, "GET", path, query, headers)
        }
        #expect(
            sign("/test.txt", "", [host, ("range", "bytes=0-9"), hash, date])
                == "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")
        #expect(
            sign("/", "max-keys=2&prefix=J", [host, hash, date])
                == "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7")
        #expect(
            sign("/", "lifecycle=", [host, hash, date])
                == "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543")
        let body = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
        let put = signature(
            signer, Self.s3Credentials, Self.s3Time, "PUT", "/test%24file.text", "",
            [
                ("date", "Fri, 24 May 2013 00:00:00 GMT"), host, ("x-amz-content-sha256", body), date,
                ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ], payload: body)
        #expect(put == "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd")
    }

    // The SigV4 test suite: get-vanilla and its family.
    @Test(arguments: [
        ("GET", "/", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("GET", "/", "Param1=value1", "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"),
        ("GET", "/", "Param1=value1&Param2=value2", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
        ("GET", "/%E1%88%B4", "", "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
        ("POST", "/", "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    ])
    func matchesTheTestSuite(method: String, path: String, query: String, expected: String) {
        let credentials = Credentials(
            accessKeyID: "AKIDEXAMPLE", secretAccessKey: Secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"))
        let headers = [("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z")]
        let time: Int64 = 1_440_938_160
        #expect(signature(Signer(service: "service"), credentials, time, method, path, query, headers) == expected)
    }

    @Test func theCachedKeyFollowsDayRegionAndSecret() {
        let signer = Signer()
        let request = Signer.Request(
            method: "GET", path: "/", query: "", headers: [("host", "h")], payloadHash: Digest.emptyHex)
        var other = Self.s3Credentials
        other.secretAccessKey = Secret("other")
        let day: Int64 = 86400
        let first = signer.authorization(request, Self.s3Credentials, region: "r", time: 0)
        let all = [
            first, signer.authorization(request, Self.s3Credentials, region: "r", time: day),
            signer.authorization(request, Self.s3Credentials, region: "q", time: 0),
            signer.authorization(request, other, region: "r", time: 0),
        ]
        #expect(Set(all).count == 4)
        #expect(signer.authorization(request, Self.s3Credentials, region: "r", time: 0) == first)
    }

    @Test func datesAgreeWithThemselvesOverAllDays() {
        for day in stride(from: Int64(-800_000), to: 2_000_000, by: 1) {
            let time = day * 86400 + 3723
            let date = CivilDate(secondsSince1970: time)
            if date.secondsSince1970 != time, (0...9999).contains(date.year) {
                Issue.record("\(time) became \(date)")
                return
            }
        }
        #expect(AmzDate(1_709_210_096).text == "20240229T123456Z")
    }
}
