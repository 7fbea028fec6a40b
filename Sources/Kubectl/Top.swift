import ArgumentParser
import Kubernetes

/// What a node's cache holds and how much it helps; with a dataset, that dataset's part of the disk.
struct TopRow: Row, Equatable {
    var node: String
    /// `namespace/name`; nil: the node as a whole.
    var dataset: String?
    var memoryBytes: Int
    var diskBytes: Int
    var readBytes: Int
    var hitBytes: Int
    var sessions: Int

    static let header = ["NODE", "DATASET", "MEMORY", "DISK", "READ", "HITS", "MOUNTS"]
    var cells: [String] {
        let isNode = dataset == nil
        return [
            node, dataset ?? "*", isNode ? Text.bytes(memoryBytes) : "-", Text.bytes(diskBytes),
            isNode ? Text.bytes(readBytes) : "-",
            isNode ? Text.percent(Double(hitBytes), of: Double(readBytes)) : "-", isNode ? "\(sessions)" : "-",
        ]
    }
    var json: JSON {
        var json: JSON = ["node": .string(node), "dataset": member(dataset), "diskBytes": .integer(diskBytes)]
        guard dataset == nil else { return json }
        json["memoryBytes"] = .integer(memoryBytes)
        json["readBytes"] = .integer(readBytes)
        json["hitBytes"] = .integer(hitBytes)
        json["mounts"] = .integer(sessions)
        return json
    }

    /// The node's own row, then one for each dataset that has room on its disk, the largest first.
    static func rows(_ metrics: NodeMetrics) -> [TopRow] {
        func sum(_ name: String) -> Int { Int(metrics.sum(name)) }
        let hits = sum("millrace_cache_hit_bytes_total")
        let node = TopRow(
            node: metrics.node, dataset: nil, memoryBytes: sum("millrace_cache_memory_bytes"),
            diskBytes: sum("millrace_disk_cache_bytes"), readBytes: hits + sum("millrace_cache_miss_bytes_total"),
            hitBytes: hits, sessions: sum("millrace_sessions"))
        let datasets = metrics.samples.filter { $0.name == "millrace_cache_bytes" }.compactMap { sample -> TopRow? in
            guard let name = sample.labels["dataset"], !name.isEmpty else { return nil }
            return TopRow(
                node: metrics.node, dataset: name, memoryBytes: 0, diskBytes: Int(sample.value), readBytes: 0,
                hitBytes: 0, sessions: 0)
        }
        return [node] + datasets.sorted { ($1.diskBytes, $0.dataset ?? "") < ($0.diskBytes, $1.dataset ?? "") }
    }
}

struct TopCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "top", abstract: "Shows what nodes' caches hold, by dataset, and how many reads they answer.",
        discussion: "Needs the right to list pods and to get pods/proxy where the node plugin runs.")
    @OptionGroup var place: Place
    @OptionGroup var output: OutputOptions
    @Option(help: "This node only.") var node: String?

    func run() async throws {
        let session = try place.session()
        let metrics = try await NodeMetrics.read(session.client, on: node)
        print(
            rendered(
                metrics.flatMap(TopRow.rows), as: output.format,
                none: "No node plugin answers; are its pods there, and may you get pods/proxy?"))
    }
}
