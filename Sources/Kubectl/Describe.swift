import ArgumentParser
import Controller
import Kubernetes

/// All that is known of a Dataset.
struct Description: Sendable {
    var dataset: Dataset
    /// Names of namespaces whose pods may read it.
    var granted: [String]
    var consumers: [ConsumerRow]
    var events: [Event]

    var json: JSON {
        var json = DatasetRow(dataset).json
        json["granted"] = .array(granted.map { .string($0) })
        json["consumers"] = .array(consumers.map(\.json))
        json["conditions"] = .array(
            (dataset.status?.conditions ?? []).map {
                [
                    "type": .string($0.type), "status": .string($0.status), "reason": .string($0.reason),
                    "message": .string($0.message),
                ]
            })
        json["events"] = .array(events.map { ["reason": member($0.reason), "message": member($0.message)] })
        return json
    }

    var text: String {
        let row = DatasetRow(dataset)
        var lines = [
            "Dataset:     \(row.key)", "Source:      \(row.source)", "Endpoint:    \(row.endpoint ?? "AWS")",
            "Access:      \(row.access)",
            "Secret:      \(dataset.spec.secretRef.map { "\(row.key.namespace)/\($0.name)" } ?? "none")",
            "Objects:     \(Text.count(row.objects)) (\(Text.bytes(row.bytes)))"
                + (dataset.status?.countedAt.map { ", counted \($0)" } ?? ""),
            "Granted to:  \(Grants.summary(dataset)); now: \(Self.some(granted))",
        ]
        if let publish = dataset.spec.publish {
            lines.append(
                "Published:   as claim \(dataset.publishedClaimName) by \(Grants.text(publish.namespaceSelector))")
        }
        if let broker = dataset.spec.broker {
            lines.append("Broker:      \(broker.access ?? "ReadOnly") keys of \(broker.roleARN ?? "its own keys")")
        }
        lines.append("Conditions:")
        for condition in dataset.status?.conditions ?? [] {
            lines.append("  \(condition.type)=\(condition.status) (\(condition.reason)): \(condition.message)")
        }
        if dataset.status?.conditions?.isEmpty != false { lines.append("  none yet: is the controller running?") }
        lines.append("Used by:")
        let table = rendered(consumers, as: .wide, none: "nobody")
        lines += table.split(separator: "\n").map { "  \($0)" }
        if !events.isEmpty { lines.append("Events:") }
        lines += events.map { "  \($0.lastTimestamp ?? "") \($0.reason ?? ""): \($0.message ?? "")" }
        return lines.joined(separator: "\n")
    }

    private static func some(_ names: [String]) -> String {
        if names.isEmpty { return "no namespace" }
        return names.prefix(10).joined(separator: ", ") + (names.count > 10 ? " and \(names.count - 10) more" : "")
    }
}

extension Client {
    func describe(_ key: ObjectKey) async throws(APIError) -> Description {
        let dataset = try await get(Dataset.self, key.name, namespace: key.namespace)
        let namespaces = try await list(Namespace.self).items
        return Description(
            dataset: dataset, granted: namespaces.filter(dataset.allows).map(\.key.name).sorted(),
            consumers: try await consumers(of: key), events: try await events(on: "Dataset", key))
    }

    /// An object's Events, the newest last.
    func events(on kind: String, _ key: ObjectKey) async throws(APIError) -> [Event] {
        try await list(Event.self, namespace: key.namespace.isEmpty ? "default" : key.namespace).items
            .filter { $0.involvedObject.kind == kind && $0.involvedObject.name == key.name }
            .sorted { ($0.lastTimestamp ?? "") < ($1.lastTimestamp ?? "") }
    }
}

struct DescribeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "describe", abstract: "Shows all that is known of a Dataset.")
    @OptionGroup var place: Place
    @OptionGroup var output: OutputOptions
    @Argument(help: "The Dataset: its name, or namespace/name.") var dataset: String

    func run() async throws {
        let session = try place.session()
        let description = try await session.client.describe(try session.key(dataset))
        print(output.format == .json ? description.json.description : description.text)
    }
}
