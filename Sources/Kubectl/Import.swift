import ArgumentParser
import Controller
import Kubernetes

/// A copy onto a claim, in a line.
struct ImportRow: Row, Equatable {
    var key: ObjectKey
    var claim: String
    var phase: String
    var percent: Int?
    var bytes: Int?
    var message: String

    init(_ object: LooseImport) {
        key = object.key
        claim = object.status?["claimName"]?.string ?? object.spec["claimName"]?.string ?? "-"
        phase = object.status?["phase"]?.string ?? "Pending"
        percent = object.status?.at("progress", "percent")?.integer
        bytes = object.status?.at("progress", "bytes")?.integer
        message = object.status?["message"]?.string ?? ""
    }

    static let header = ["NAME", "CLAIM", "PHASE", "DONE", "BYTES"]
    static let wideHeader = ["MESSAGE"]
    var cells: [String] { [key.name, claim, phase, percent.map { "\($0)%" } ?? "-", Text.bytes(bytes)] }
    var wideCells: [String] { [message] }
    var json: JSON {
        [
            "namespace": .string(key.namespace), "name": .string(key.name), "claim": .string(claim),
            "phase": .string(phase), "percent": member(percent), "bytes": member(bytes), "message": .string(message),
        ]
    }
}

/// What to copy, as it is written on the command line.
enum ImportSource {
    /// `s3://bucket/prefix`, or an http(s) URL.
    static func spec(_ url: String, endpoint: String?, region: String?) throws(Mistake) -> JSON {
        if url.hasPrefix("s3://") {
            let rest = url.dropFirst("s3://".count)
            let bucket = rest.prefix { $0 != "/" }
            guard !bucket.isEmpty else { throw Mistake("\(url) has no bucket; give it as s3://bucket/prefix") }
            var s3: JSON = ["bucket": .string(String(bucket))]
            let prefix = rest.dropFirst(bucket.count + 1)
            if !prefix.isEmpty { s3["prefix"] = .string(String(prefix)) }
            s3["endpoint"] = endpoint.map { .string($0) }
            s3["region"] = region.map { .string($0) }
            return ["s3": s3]
        }
        guard url.hasPrefix("https://") || url.hasPrefix("http://") else {
            throw Mistake("\(url) isn't s3://bucket/prefix, nor an http(s) URL")
        }
        guard endpoint == nil, region == nil else { throw Mistake("--endpoint and --region are for s3:// only") }
        return ["http": ["urls": [.string(url)]]]
    }
}

struct ImportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import", abstract: "Copies a prefix or a URL onto a claim; without a source, lists what copies.",
        discussion: "Only for volumes of another storage class; a Dataset is mounted without a copy.")
    @OptionGroup var place: Place
    @OptionGroup var output: OutputOptions
    @Argument(help: "s3://bucket/prefix or an http(s) URL.") var source: String?
    @Option(help: "An existing claim that is filled.") var claim: String?
    @Option(help: "A Secret in the namespace with the source's keys.") var secret: String?
    @Option(help: "The store's URL (default: AWS).") var endpoint: String?
    @Option(help: "The store's region.") var region: String?
    @Option(help: "The import's name (default: the claim's).") var name: String?

    func run() async throws {
        let session = try place.session()
        guard let source else {
            let rows = try await session.client.list(LooseImport.self, namespace: session.namespace).items
                .map(ImportRow.init).sorted { $0.key < $1.key }
            return print(rendered(rows, as: output.format, none: "No imports in namespace \(session.namespace)."))
        }
        guard let claim else { throw Mistake("--claim is missing: the claim that is filled") }
        var spec: JSON = ["source": try ImportSource.spec(source, endpoint: endpoint, region: region)]
        spec["claimName"] = .string(claim)
        if let secret { spec["secretRef"] = ["name": .string(secret)] }
        let made = try await session.client.create(
            LooseImport(metadata: ObjectMeta(name: name ?? claim, namespace: session.namespace), spec: spec))
        print("DatasetImport \(made.key) fills claim \(claim); see kubectl millrace import -n \(session.namespace).")
    }
}
