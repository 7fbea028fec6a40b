import ArgumentParser
import Controller
import Kubernetes

/// Brings a Dataset into nodes' caches.
enum Warm {
    /// Keeps it on so many nodes from now on; 0 ends that.
    static func keep(_ client: Client, _ key: ObjectKey, replicas: Int) async throws(APIError) {
        let warm: JSON = replicas == 0 ? .null : ["replicas": .integer(replicas)]
        try await client.patch(Dataset.self, key.name, namespace: key.namespace, merge: ["spec": ["warm": warm]])
    }

    /// Once: a DatasetLoad, whose name is answered.
    static func once(
        _ client: Client, _ key: ObjectKey, replicas: Int, globs: [String]
    ) async throws(APIError) -> String {
        var metadata = ObjectMeta(namespace: key.namespace)
        metadata.generateName = "\(key.name.prefix(200))-"
        var spec: JSON = ["dataset": .string(key.name), "replicas": .integer(replicas)]
        if !globs.isEmpty { spec["globs"] = .array(globs.map { .string($0) }) }
        let made = try await client.create(LooseLoad(metadata: metadata, spec: spec))
        return made.metadata.name ?? ""
    }
}

struct WarmCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "warm", abstract: "Brings a Dataset into the caches of nodes, once or for as long as it is there.")
    @OptionGroup var place: Place
    @Argument(help: "The Dataset: its name, or namespace/name.") var dataset: String
    @Option(help: "On how many nodes; 0 with --keep ends that.") var replicas = 1
    @Option(help: "Only files of this pattern; repeat it for more. Not with --keep.") var glob: [String] = []
    @Flag(help: "Keep it there through changes of nodes, instead of once.") var keep = false

    func validate() throws {
        guard replicas >= (keep ? 0 : 1) else { throw ValidationError("--replicas must be \(keep ? 0 : 1) or more") }
        guard !keep || glob.isEmpty else { throw ValidationError("--glob is for once; leave --keep out") }
    }

    func run() async throws {
        let session = try place.session()
        let key = try session.key(dataset)
        if keep {
            try await Warm.keep(session.client, key, replicas: replicas)
            print(replicas == 0 ? "Dataset \(key) isn't kept warm." : "Dataset \(key) is kept on \(replicas) nodes.")
        } else {
            _ = try await session.client.get(Dataset.self, key.name, namespace: key.namespace)
            let name = try await Warm.once(session.client, key, replicas: replicas, globs: glob)
            print("DatasetLoad \(key.namespace)/\(name) brings it to \(replicas) node\(replicas == 1 ? "" : "s").")
        }
    }
}
