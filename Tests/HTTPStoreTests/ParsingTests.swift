import S3
import Testing

@testable import HTTPStore

@Suite struct IndexPageTests {
    private let address = WebAddress("http://127.0.0.1:8080/data/")!

    private func names(_ html: String) -> [String] {
        IndexPage.parseHTML(Array(html.utf8), at: address).map { String(decoding: $0.raw, as: UTF8.self) }
    }

    @Test func pagesOfServersAreRead() {
        // nginx
        #expect(
            names(
                """
                <html><head><title>Index of /data/</title></head><body><h1>Index of /data/</h1><hr><pre><a href="../">../</a>
                <a href="b%20c/">b c/</a>                21-Oct-2026 07:28       -
                <a href="a.bin">a.bin</a>                21-Oct-2026 07:28    1048576
                <a href="x%26y">x&amp;y</a></pre><hr></body></html>
                """) == ["b c/", "a.bin", "x&y"])
        // Apache: columns to sort by, absolute links to the parent
        #expect(
            names(
                """
                <tr><th><a href="?C=N;O=D">Name</a></th></tr><tr><td><a href="/">Parent Directory</a></td></tr>
                <tr><td><A class='f' HREF='./f.csv'>f.csv</A></td></tr><tr><td><a href="/data/g&amp;h.csv">g</a></td></tr>
                """) == ["f.csv", "g&h.csv"])
    }

    @Test(arguments: [
        "<a href=\"../../etc/passwd\">x</a>", "<a href=\"http://other/data/x\">x</a>", "<a href=\"a/b/c\">x</a>",
        "<a href=\"%2e%2e\">x</a>", "<a href=\"a%2Fb\">x</a>", "<a href=\"a%00b\">x</a>", "<a href=\"\">x</a>",
        "<a href=\"#top\">x</a>", "<a href=\"mailto:a@b\">x</a>", "<a href=\"javascript:alert(1)\">x</a>",
        "<a href=\"x?download=1\">x</a>", "<a", "<a href", "<a href=", "<abbr href=\"x\">",
        "<a href=\"\(String(repeating: "n", count: 256))\">",
    ]) func whatIsNoFileRightBelowIsLeftOut(_ html: String) { #expect(names(html) == []) }

    @Test func jsonIsRead() throws {
        let nginx =
            #"[{"name":"d","type":"directory","mtime":"Wed, 21 Oct 2015 07:28:00 GMT"},{"name":"f","type":"file","mtime":"Wed, 21 Oct 2015 07:28:00 GMT","size":5},{"name":"../x","type":"file","size":1}]"#
        #expect(
            IndexPage.parse(Array(nginx.utf8), contentType: "application/json", at: address) == [
                IndexItem(name: Array("d".utf8), isDirectory: true),
                IndexItem(name: Array("f".utf8), isDirectory: false, size: 5, modified: 1_445_412_480),
            ])
        let caddy =
            #"[{"name":"d/","is_dir":true,"size":4096,"mod_time":"2015-10-21T07:28:00Z"},{"name":"f","is_dir":false,"size":5,"mod_time":"2015-10-21T07:28:00.5Z"}]"#
        #expect(IndexPage.parseJSON(Array(caddy.utf8))?.map(\.size) == [nil, 5])
        #expect(IndexPage.parse(Array("plain".utf8), contentType: "text/plain", at: address) == nil)
        #expect(IndexPage.parse(Array("{\"a\":1}".utf8), contentType: "application/json", at: address) == nil)
    }

    /// Nothing that a server may send leads out of its bytes.
    @Test func anyBytesAreRead() {
        var generator = SystemRandomNumberGenerator()
        let pieces = ["<a ", "href", "=", "\"", "'", ">", "x", "&amp;", "&#", "%2", "/", "..", " ", "\u{0}", "ü"]
        for _ in 0..<5_000 {
            let text = (0..<Int.random(in: 0...40)).map { _ in pieces.randomElement(using: &generator)! }.joined()
            for item in IndexPage.parseHTML(Array(text.utf8), at: address) { #expect(FileName.isValid(item.name)) }
        }
    }
}

@Suite struct URLListTests {
    private func paths(_ text: String, base: String? = nil) throws -> [String] {
        try URLList(text.split(separator: "\n").map(String.init), relativeTo: base.flatMap { WebAddress($0) })
            .files.map { "\(String(decoding: $0.path, as: UTF8.self)) \($0.address.text)" }
    }

    @Test func namesComeFromTheURLOrFromTheLine() throws {
        #expect(
            try paths(
                "# files\n\nhttps://h/b/two%20words.csv?sig=1\nhttp://h:1/x  dir/y z\nrel/r\n/abs",
                base: "https://h/l/list.txt")
                == [
                    "abs https://h/abs", "dir/y z http://h:1/x", "r https://h/l/rel/r",
                    "two words.csv https://h/b/two%20words.csv?sig=1",
                ])
    }

    @Test(arguments: [
        ("ftp://h/x", "line 1"), ("https://u:p@h/x", "line 1"), ("https://h/", "line 1"),
        ("https://h/x ../y", "line 1"),
        ("https://h/x a//b", "line 1"), ("https://h/x\nhttps://g/x", "line 2"), ("relative", "line 1"),
        ("https://h/x /abs", "line 1"),
    ]) func wrongLinesAreNamed(_ text: String, _ line: String) {
        #expect {
            try paths(text)
        } throws: { error in
            let reason = (error as? URLList.Problem)?.reason ?? ""
            return reason.contains(line) && !reason.contains("u:p")
        }
    }
}

@Suite struct FileVersionTests {
    @Test func theServerIsToldTheVersionAsItUnderstandsIt() {
        #expect(FileVersion.condition(for: "5f-1") ?? ("", "") == ("If-Match", "\"5f-1\""))
        #expect(FileVersion.condition(for: "W/\"5f\"") == nil)
        #expect(
            FileVersion.condition(for: "time:1445412480:5") ?? ("", "") == (
                "If-Unmodified-Since", "Wed, 21 Oct 2015 07:28:00 GMT"
            ))
        #expect(FileVersion.condition(for: "time:0:5") == nil)
        #expect(FileVersion.condition(for: "a\"b") == nil)
    }

    @Test func base64() {
        #expect(
            ["", "f", "fo", "foo", "foob"].map { Base64.encode(Array($0.utf8)) } == [
                "", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==",
            ])
    }
}
