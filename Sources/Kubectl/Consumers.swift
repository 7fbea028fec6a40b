import ArgumentParser
import Controller
import Kubernetes

/// A claim that shows a Dataset, and the pods that use it.
struct ConsumerRow: Row, Equatable {
    var claim: ObjectKey
    var volume: String
    /// Bound, Pending, Lost, or what the volume says where the claim is gone.
    var phase: String
    /// Names of pods that aren't over.
    var pods: [String]
    var nodes: [String]

    static let header = ["NAMESPACE", "CLAIM", "PHASE", "PODS"]
    static let wideHeader = ["VOLUME", "NODES"]
    var cells: [String] { [claim.namespace, claim.name, phase, pods.isEmpty ? "-" : pods.joined(separator: ",")] }
    var wideCells: [String] { [volume, nodes.isEmpty ? "-" : nodes.joined(separator: ",")] }
    var json: JSON {
        [
            "namespace": .string(claim.namespace), "claim": .string(claim.name), "phase": .string(phase),
            "volume": .string(volume), "pods": .array(pods.map { .string($0) }),
            "nodes": .array(nodes.map { .string($0) }),
        ]
    }
}

extension Client {
    /// Who has a volume of the Dataset, by the volumes that the controller made of it.
    func consumers(of dataset: ObjectKey) async throws(APIError) -> [ConsumerRow] {
        let volumes = try await list(PersistentVolume.self).items.filter {
            $0.metadata.annotations?[Names.dataset] == dataset.description && $0.spec.claimRef != nil
        }
        var rows: [ConsumerRow] = []
        var podsOf: [String: [PodView]] = [:]
        for volume in volumes {
            guard let reference = volume.spec.claimRef, let namespace = reference.namespace, let name = reference.name
            else { continue }
            if podsOf[namespace] == nil {
                podsOf[namespace] = try await list(PodView.self, namespace: namespace).items.filter { !$0.isOver }
            }
            let pods = (podsOf[namespace] ?? []).filter { $0.mounts(claim: name) }
            let claim = try await found { () async throws(APIError) in
                try await get(PersistentVolumeClaim.self, name, namespace: namespace)
            }
            rows.append(
                ConsumerRow(
                    claim: ObjectKey(namespace: namespace, name: name), volume: volume.key.name,
                    phase: claim?.status?.phase ?? "Released", pods: pods.map(\.key.name).sorted(),
                    nodes: Set(pods.compactMap { $0.spec?.nodeName }).sorted()))
        }
        return rows.sorted { $0.claim < $1.claim }
    }
}

struct WhoCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "who", abstract: "Shows the claims and pods that use a Dataset, in all namespaces.")
    @OptionGroup var place: Place
    @OptionGroup var output: OutputOptions
    @Argument(help: "The Dataset: its name, or namespace/name.")
    var dataset: String

    func run() async throws {
        let session = try place.session()
        let key = try session.key(dataset)
        _ = try await session.client.get(Dataset.self, key.name, namespace: key.namespace)
        let rows = try await session.client.consumers(of: key)
        print(rendered(rows, as: output.format, none: "Nobody uses Dataset \(key)."))
    }
}
