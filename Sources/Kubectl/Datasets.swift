import ArgumentParser
import Controller
import Kubernetes

/// A Dataset in a line.
struct DatasetRow: Row, Equatable {
    var key: ObjectKey
    var ready: String
    var reason: String
    var source: String
    var endpoint: String?
    var access: String
    var objects: Int?
    var bytes: Int?
    var volumes: Int
    var namespaces: Int

    init(_ dataset: Dataset) {
        let condition = dataset.status?.conditions?.first { $0.type == "Ready" }
        key = dataset.key
        ready = condition?.status ?? "Unknown"
        reason = condition?.reason ?? "NotChecked"
        source = Self.source(dataset)
        endpoint = dataset.spec.source.s3?.endpoint
        access = dataset.spec.access ?? "ReadOnly"
        objects = dataset.status?.objects
        bytes = dataset.status?.bytes
        volumes = dataset.status?.consumers?.volumes ?? 0
        namespaces = dataset.status?.consumers?.namespaces ?? 0
    }

    static func source(_ dataset: Dataset) -> String {
        guard let s3 = dataset.spec.source.s3 else { return "-" }
        return "s3://\(s3.bucket)/\(s3.prefix ?? "")"
    }

    static let header = ["NAMESPACE", "NAME", "READY", "OBJECTS", "BYTES", "VOLUMES", "NAMESPACES"]
    static let wideHeader = ["REASON", "SOURCE", "ENDPOINT", "ACCESS"]
    var cells: [String] {
        [
            key.namespace, key.name, ready, Text.count(objects), Text.bytes(bytes), "\(volumes)", "\(namespaces)",
        ]
    }
    var wideCells: [String] { [reason, source, endpoint ?? "-", access] }
    var json: JSON {
        [
            "namespace": .string(key.namespace), "name": .string(key.name), "ready": .string(ready),
            "reason": .string(reason), "source": .string(source), "endpoint": member(endpoint),
            "access": .string(access), "objects": member(objects), "bytes": member(bytes),
            "volumes": .integer(volumes), "namespaces": .integer(namespaces),
        ]
    }
}

extension Client {
    /// `namespace` nil: of all namespaces.
    func datasets(in namespace: String?) async throws(APIError) -> [DatasetRow] {
        try await list(Dataset.self, namespace: namespace).items.map(DatasetRow.init).sorted { $0.key < $1.key }
    }
}

struct ListCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ls", abstract: "Lists Datasets, with what they hold and who uses them.", aliases: ["list"])
    @OptionGroup var place: Place
    @OptionGroup var output: OutputOptions
    @Flag(name: [.customShort("A"), .long], help: "Of all namespaces.")
    var allNamespaces = false

    func run() async throws {
        let session = try place.session()
        let rows = try await session.client.datasets(in: allNamespaces ? nil : session.namespace)
        let place = allNamespaces ? "the cluster" : "namespace \(session.namespace) (-A: all)"
        print(rendered(rows, as: output.format, none: "No Datasets in \(place)."))
    }
}
