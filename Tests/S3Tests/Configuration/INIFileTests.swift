import Testing

@testable import S3

@Suite struct INIFileTests {
    private func parse(_ text: String) throws -> INIFile { try INIFile(Array(text.utf8), name: "file") }

    @Test func readsSectionsKeysAndComments() throws {
        let file = try parse(
            "\u{9}# a comment\n; another\ntop = 1\n[default]\r\nRegion = eu-west-1   # here\r\nurl=http://h/#x;y\nempty =\n"
                + "[ profile a b ]\nkey = with = equals\n[default]\nregion = us-west-2")
        #expect(file.section("")?.value("top") == "1")
        #expect(file.section("default")?.value("region") == "us-west-2")
        #expect(file.section("default")?.value("url") == "http://h/#x;y")
        #expect(file.section("default")?.value("empty") == "")
        #expect(file.section("profile a b")?.value("key") == "with = equals")
        #expect(file.section("profile a b")?.entries.first?.line == 9)
        #expect(file.section("other") == nil)
    }

    @Test func indentedKeysBelongToTheKeyAbove() throws {
        let file = try parse("[default]\ns3 =\n  addressing_style = path\n  max = 1\nregion = x\n  y = 2")
        #expect(file.section("default")?.value("s3.addressing_style") == "path")
        #expect(file.section("default")?.value("s3.max") == "1")
        #expect(file.section("default")?.value("y") == "2")
    }

    @Test(arguments: [
        ("[default", 1), ("a = 1\njunk", 2), ("[]", 1), ("= value", 1), ("\n\n[a]\nsecret-without-equals", 4),
    ])
    func namesTheLineThatIsWrongWithoutQuotingIt(text: String, line: Int) {
        #expect {
            try parse(text)
        } throws: { error in
            let error = error as! INIError
            return error.line == line && error.description.hasPrefix("file: line \(line) ")
                && !error.description.contains("secret-without-equals")
        }
    }

    @Test func refusesWhatIsNoText() {
        #expect(throws: INIError(file: "file", line: 2, problem: "is not UTF-8")) {
            try INIFile(Array("a = 1\n".utf8) + [0xFF, 0xFE], name: "file")
        }
        #expect(throws: INIError.self) {
            try INIFile([UInt8](repeating: 0x61, count: INIFile.maxBytes + 1), name: "file")
        }
    }
}
