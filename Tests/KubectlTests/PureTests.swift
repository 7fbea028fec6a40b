import Controller
import Kubernetes
import Testing

@testable import Kubectl

@Suite struct KubectlPureTests {
    private func names(_ allowed: Dataset.AllowedNamespaces) -> [String]? {
        allowed.selector?.matchExpressions?.first?.values
    }

    @Test func namespacesAreAddedAndRemovedByName() throws {
        let one = try Grants.apply(.add(namespace: "b"), to: nil, owner: "own")
        #expect(one.from == "Selector" && names(one) == ["b", "own"])
        let two = try Grants.apply(.add(namespace: "a"), to: one, owner: "own")
        #expect(names(two) == ["a", "b", "own"])
        let less = try Grants.apply(.remove(namespace: "b"), to: two, owner: "own")
        #expect(names(less) == ["a", "own"])
        #expect(try Grants.apply(.remove(namespace: "a"), to: less, owner: "own") == .init(from: "Same"))
        #expect(try Grants.apply(.add(namespace: "own"), to: nil, owner: "own") == .init(from: "Same"))
        #expect(try Grants.apply(.add(namespace: "x"), to: .init(from: "All"), owner: "own") == .init(from: "All"))
    }

    @Test func whatCannotBeSaidIsRefusedAndNothingIsGrantedByAccident() {
        let labels = Dataset.AllowedNamespaces(from: "Selector", selector: LabelSelector(matchLabels: ["team": "a"]))
        for change in [Grants.Change.add(namespace: "b"), .remove(namespace: "b")] {
            let error = #expect(throws: Mistake.self) { try Grants.apply(change, to: labels, owner: "own") }
            #expect(error?.description.contains("team=a") == true)
        }
        #expect(throws: Mistake.self) {
            try Grants.apply(.remove(namespace: "b"), to: .init(from: "All"), owner: "own")
        }
        #expect(throws: Mistake.self) { try Grants.apply(.remove(namespace: "own"), to: nil, owner: "own") }
        #expect(throws: Mistake.self) { try Grants.selector("") }
        #expect(throws: Mistake.self) { try Grants.selector("team") }
    }

    @Test func aSelectorReplacesNamesEntirely() throws {
        // A merge patch keeps members that it doesn't name: both kinds are always named.
        let patch = Grants.json(.init(from: "Selector", selector: LabelSelector(matchLabels: ["a": "b"])))
        #expect(patch["selector"]?["matchExpressions"] == JSON.null)
        #expect(Grants.json(.init(from: "All"))["selector"] == JSON.null)
    }

    @Test(arguments: [
        (0, "0"), (1023, "1023"), (1024, "1Ki"), (1536, "1.5Ki"), (150 << 20, "150Mi"), (5 << 40, "5Ti"),
        (1_048_575, "1024Ki"),
    ]) func bytesAreShort(_ count: Int, _ text: String) { #expect(Text.bytes(count) == text) }

    @Test func columnsLineUpAndEmptyOnesEndNoLine() {
        let table = Table(header: ["A", "LONG"], rows: [["value", ""], ["x", "y"]])
        #expect(table.text == "A       LONG\nvalue\nx       y")
    }

    static let metrics = #"""
        # HELP millrace_cache_hit_bytes_total Bytes.
        # TYPE millrace_cache_hit_bytes_total counter
        millrace_cache_hit_bytes_total 750
        millrace_cache_miss_bytes_total 250
        millrace_cache_memory_bytes 4096
        millrace_disk_cache_bytes 2048
        millrace_sessions 3
        millrace_cache_bytes{dataset="courses/iris"} 1024
        millrace_cache_bytes{dataset="odd\"name",other="x"} 2048
        millrace_operation_errors_total{op="read",errno="EIO"} 2
        nonsense
        """#

    @Test func metricsBecomeRows() throws {
        let rows = TopRow.rows(NodeMetrics(node: "n1", text: Self.metrics))
        #expect(rows.map(\.dataset) == [nil, "odd\"name", "courses/iris"])
        #expect(rows[0].cells == ["n1", "*", "4Ki", "2Ki", "1000", "75%", "3"])
        #expect(rows[2].cells[3] == "1Ki")
    }

    @Test func metricsExplainSlowMounts() {
        let findings = NodeMetrics(node: "n1", text: Self.metrics).findings
        #expect(findings[0].message.hasPrefix("75%"))
        #expect(findings.contains { $0.verdict == .problem && $0.message.contains("2 calls of pods failed") })
        let quiet = NodeMetrics(node: "n1", text: "millrace_cache_queued_reads_total 0")
        #expect(quiet.findings.allSatisfy { $0.verdict == .fine })
        let full = NodeMetrics(node: "n1", text: "millrace_cache_queued_reads_total 9")
        #expect(full.findings.contains { $0.message.contains("node.memory") })
    }

    @Test func sourcesOfImports() throws {
        #expect(
            try ImportSource.spec("s3://b/a/c/", endpoint: "http://127.0.0.1:9", region: nil)
                == ["s3": ["bucket": "b", "prefix": "a/c/", "endpoint": "http://127.0.0.1:9"]])
        #expect(try ImportSource.spec("s3://b", endpoint: nil, region: nil) == ["s3": ["bucket": "b"]])
        #expect(
            try ImportSource.spec("https://x.example/f", endpoint: nil, region: nil)
                == ["http": ["urls": ["https://x.example/f"]]])
        for bad in ["b/a", "s3://", "ftp://x"] {
            #expect(throws: Mistake.self) { try ImportSource.spec(bad, endpoint: nil, region: nil) }
        }
    }

    @Test(arguments: [
        (["add", "iris", "team-a"], Grants.Change.add(namespace: "team-a")), (["all", "iris"], .all),
        (["set", "iris", "-l", "a=b"], .select(LabelSelector(matchLabels: ["a": "b"]))),
    ]) func grantIsReadFromWords(_ words: [String], _ change: Grants.Change) throws {
        #expect(try GrantCommand.parse(words).change() == change)
    }

    @Test(arguments: [["add", "iris"], ["set", "iris"], ["all", "iris", "x"], ["remove", "iris", "-l", "a=b"]])
    func incompleteGrantsAreRefused(_ words: [String]) throws {
        let command = try GrantCommand.parse(words)
        #expect(throws: Mistake.self) { try command.change() }
    }
}
