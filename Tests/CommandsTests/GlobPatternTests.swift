import Testing

@testable import Commands

@Suite struct GlobPatternTests {
    @Test(
        "V6: patterns choose files as a shell does",
        arguments: [
            ("train/*", "train/a.jpg", true), ("train/*", "test/a.jpg", false), ("train", "train/x/y/z", true),
            ("train/*", "train/sub/a.jpg", true), ("*.csv", "a.csv", true), ("*.csv", "d/a.csv", false),
            ("**/*.csv", "d/e/a.csv", true), ("**/*.csv", "a.csv", true), ("**", "any/thing", true),
            ("a/**/b", "a/b", true), ("a/**/b", "a/x/y/b", true), ("a/**/b", "a/x/y/c", false),
            ("shard-0?", "shard-07", true), ("shard-0?", "shard-1", false), ("shard-[0-3]*", "shard-2-of-9", true),
            ("shard-[0-3]*", "shard-7-of-9", false), ("[!a]*", "b", true), ("[!a]*", "abc", false), ("[a", "[a", true),
            ("*", "anything", true), ("*a*b*c", "xxaxxbxxc", true), ("*a*b*c", "xxaxxbxx", false), ("", "any", true),
            ("/train/", "train/a", true), ("Straße*", "Straße-1", true),
        ])
    func matches(_ pattern: String, _ path: String, _ expected: Bool) {
        #expect(GlobPattern(pattern).matches(path) == expected)
    }

    @Test func noPatternTakesLong() {
        let pattern = GlobPattern(String(repeating: "*a", count: 40) + "b")
        #expect(!pattern.matches(String(repeating: "a", count: 4000)))
    }
}
