import Testing

@testable import Copy

struct CopyPathTests {
    @Test(arguments: [
        ("a/b.txt", CopyPath.file("a/b.txt")),
        ("a/", .directory("a")),
        ("", .directory("")),
    ])
    func ordinaryNamesKeepTheirPath(name: String, path: CopyPath) {
        #expect(CopyPath(name: name.utf8) == path)
    }

    @Test(arguments: [
        "../x", "a/../../x", "a//b", "/etc/passwd", "./x", "a/.", "x/" + String(repeating: "n", count: 256),
    ])
    func namesThatLeaveTheDestinationOrFitNoFileAreRefused(name: String) {
        guard case .refused(let why) = CopyPath(name: name.utf8) else {
            Issue.record("\(name) was not refused")
            return
        }
        #expect(!why.isEmpty)
    }

    @Test func bytesThatAreNotTextAreRefused() {
        #expect(CopyPath(name: [0x61, 0xff]) == .refused("its name is not UTF-8 text"))
        #expect(CopyPath(name: [0x61, 0x00]) == .refused("its name is not UTF-8 text"))
    }
}
