import Glibc
import Testing

/// docs/semantics.md names the test of every rule.
@Suite struct DocumentTests {
    @Test func everyRuleIsPinnedByATest() throws {
        let here = #filePath
        let folder = String(here[..<here.lastIndex(of: "/")!])
        let document = try read(folder + "/../../docs/semantics.md")
        var sources = ""
        for file in [
            "LookupTests", "RenewalTests", "ListingTests", "SemanticsTests", "InodeTests", "RequestCountTests",
            "MemoryTests", "CollisionTests",
        ] { sources += try read("\(folder)/\(file).swift") }
        for file in ["semantics", "faults"] { sources += try read("\(folder)/../EndToEnd/test_\(file).py") }
        var rules = 0
        for row in document.split(separator: "\n") where row.hasPrefix("| ") && !row.hasSuffix("| test |") {
            let cell = row.split(separator: "|").last ?? ""
            let names = cell.split(separator: "`").map(String.init).filter { $0.count > 12 && !$0.contains(" ") }
            #expect(!names.isEmpty, "docs/semantics.md has a rule without a test: \(row)")
            for name in names {
                rules += 1
                let keyword = name.hasPrefix("test_") ? "def" : "func"
                #expect(
                    sources.contains("\(keyword) \(name)("),
                    "docs/semantics.md names a test that isn't there: \(name)")
            }
        }
        #expect(rules >= 30)
    }

    private func read(_ path: String) throws -> String {
        let file = try #require(fopen(path, "r"), "can't open \(path)")
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while case let count = fread(&buffer, 1, buffer.count, file), count > 0 { bytes += buffer[..<count] }
        return String(decoding: bytes, as: UTF8.self)
    }
}
