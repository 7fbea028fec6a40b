import ArgumentParser
import Controller
import Kubernetes

/// One thing that was looked at, and what is to be said of it.
struct Finding: Row, Equatable {
    enum Verdict: String, Sendable {
        case fine
        /// Stands in the way; the first of these is most likely the cause.
        case problem
        /// Couldn't be looked at.
        case unknown
    }
    var verdict: Verdict
    /// What was looked at.
    var about: String
    var message: String

    static func fine(_ about: String, _ message: String) -> Self {
        .init(verdict: .fine, about: about, message: message)
    }
    static func problem(_ about: String, _ message: String) -> Self {
        .init(verdict: .problem, about: about, message: message)
    }
    static func unknown(_ about: String, _ message: String) -> Self {
        .init(verdict: .unknown, about: about, message: message)
    }

    static let header = ["", "LOOKED AT", "FINDING"]
    var cells: [String] { [["fine": "ok", "problem": "!!", "unknown": "?"][verdict.rawValue]!, about, message] }
    var json: JSON { ["verdict": .string(verdict.rawValue), "about": .string(about), "message": .string(message)] }
}

/// Looks at all that stands between a claim and a mount, in the order in which it happens.
struct Explanation {
    let client: Client
    let key: ObjectKey
    private(set) var findings: [Finding] = []

    init(client: Client, claim: ObjectKey) {
        self.client = client
        key = claim
    }

    private mutating func add(_ finding: Finding) { findings.append(finding) }

    /// A look that this person may not take is no failure.
    private mutating func look<T: Sendable>(
        _ about: String, _ call: () async throws(APIError) -> T
    ) async throws(APIError) -> T? {
        do throws(APIError) { return try await found(call) } catch {
            guard error.isForbidden else { throw error }
            add(.unknown(about, "you may not look: \(error.message)"))
            return nil
        }
    }

    mutating func run() async throws(APIError) {
        let client = client
        let key = key
        guard
            let claim = try await look(
                "claim",
                { () async throws(APIError) in
                    try await client.get(PersistentVolumeClaim.self, key.name, namespace: key.namespace)
                })
        else {
            if findings.isEmpty { add(.problem("claim", "there is no claim \(key)")) }
            return
        }
        let phase = claim.status?.phase ?? "Pending"
        if claim.metadata.isBeingDeleted {
            add(.problem("claim", "it is being deleted; Kubernetes holds it while pods use it"))
        }
        if phase == "Bound" {
            add(.fine("claim", "it is Bound to volume \(claim.spec.volumeName ?? "?")"))
        } else if phase == "Lost" {
            add(.problem("claim", "it is Lost: its volume was taken away, as a grant that is taken back does"))
        } else {
            add(.problem("claim", "it is \(phase)"))
        }
        let pods = try await look(
            "pods",
            { () async throws(APIError) in
                try await client.list(PodView.self, namespace: key.namespace).items
            })?.filter { $0.mounts(claim: key.name) && !$0.isOver }
        guard let ours = try await explainClass(claim, pods) else { return }
        try await explainDataset(claim, ours)
        // Of a claim that is Bound they tell what is over.
        if phase != "Bound" { try await explainEvents() }
        for pod in pods ?? [] { try await explain(pod) }
    }

    // MARK: The class

    /// nil: the claim isn't ours.
    private mutating func explainClass(
        _ claim: PersistentVolumeClaim, _ pods: [PodView]?
    ) async throws(APIError) -> ClassParameters? {
        let client = client
        guard let name = claim.spec.storageClassName, !name.isEmpty else {
            add(.problem("class", "the claim names no StorageClass; set spec.storageClassName, such as millrace"))
            return nil
        }
        guard
            let storageClass = try await look(
                "class", { () async throws(APIError) in try await client.get(StorageClass.self, name) })
        else {
            add(.problem("class", "StorageClass \(name) isn't there; an admin makes it, or the chart's storageClasses"))
            return nil
        }
        let driver = try await look(
            "driver",
            { () async throws(APIError) in try await client.get(CSIDriverView.self, storageClass.provisioner) })
        guard driver != nil || storageClass.provisioner == Names.defaultDriver else {
            add(.fine("class", "StorageClass \(name) is of \(storageClass.provisioner), not of millrace"))
            return nil
        }
        if driver == nil {
            add(.problem("driver", "CSIDriver \(storageClass.provisioner) isn't there: is the chart installed?"))
        }
        if storageClass.volumeBindingMode == "WaitForFirstConsumer", claim.spec.volumeName == nil, pods?.isEmpty == true
        {
            add(.problem("class", "StorageClass \(name) waits for a pod that uses the claim, and there is none"))
        }
        do throws(Refusal) {
            let parameters = try ClassParameters(storageClass.parameters ?? [:], of: "StorageClass \(name)")
            add(.fine("class", "StorageClass \(name) is millrace's"))
            return parameters
        } catch {
            add(.problem("class", error.message))
            return nil
        }
    }

    // MARK: The Dataset

    private mutating func explainDataset(
        _ claim: PersistentVolumeClaim, _ parameters: ClassParameters
    ) async throws(APIError) {
        let (client, key) = (client, key)
        let reference: ObjectKey
        switch parameters.source {
        case .s3(let source):
            add(.fine("dataset", "the class shows s3://\(source.bucket)/\(source.prefix ?? "") without a Dataset"))
            return
        case .dataset(let named): reference = named
        case .annotation:
            guard let text = claim.metadata.annotations?[Names.dataset] else {
                return add(
                    .problem("dataset", "the claim needs the annotation \(Names.dataset): namespace/name of a Dataset"))
            }
            guard let named = ObjectKey(reference: text, defaultNamespace: key.namespace) else {
                return add(.problem("dataset", "annotation \(Names.dataset) is \"\(text)\"; it must be namespace/name"))
            }
            reference = named
        }
        let before = findings.count
        guard
            let dataset = try await look(
                "dataset",
                { () async throws(APIError) in
                    try await client.get(Dataset.self, reference.name, namespace: reference.namespace)
                })
        else {
            if findings.count == before { add(.problem("dataset", "Dataset \(reference) isn't there")) }
            return
        }
        let namespace = try await look(
            "grant", { () async throws(APIError) in try await client.get(Namespace.self, key.namespace) })
        if let namespace {
            add(
                dataset.allows(namespace)
                    ? .fine("grant", "Dataset \(reference) is granted to namespace \(key.namespace)")
                    : .problem(
                        "grant",
                        "Dataset \(reference) is granted to \(Grants.summary(dataset)), not to \(key.namespace); its "
                            + "owner can: kubectl millrace grant add \(reference) \(key.namespace)"))
        }
        for condition in dataset.status?.conditions ?? [] where condition.type == "Ready" {
            add(
                condition.status == "True"
                    ? .fine("dataset", "Dataset \(reference) is ready")
                    : .problem("dataset", "Dataset \(reference): \(condition.message) (\(condition.reason))"))
        }
        if dataset.status?.conditions?.isEmpty != false {
            add(.problem("dataset", "Dataset \(reference) has no status yet: is the controller running?"))
        }
        try await explainSecret(dataset, reference)
    }

    private mutating func explainSecret(_ dataset: Dataset, _ reference: ObjectKey) async throws(APIError) {
        let client = client
        guard let name = dataset.spec.secretRef?.name else { return }
        let before = findings.count
        let secret = try await look(
            "secret",
            { () async throws(APIError) in
                try await client.get(Kubernetes.Secret.self, name, namespace: reference.namespace)
            })
        if secret != nil {
            // Its keys are for the Dataset's own check, which the status tells of; values aren't looked at here.
            add(.fine("secret", "Secret \(reference.namespace)/\(name) is there"))
        } else if findings.count == before {
            add(.problem("secret", "Secret \(reference.namespace)/\(name) of the Dataset isn't there"))
        }
    }

    // MARK: Events and pods

    private mutating func explainEvents() async throws(APIError) {
        let (client, key) = (client, key)
        let events = try await look(
            "events", { () async throws(APIError) in try await client.events(on: "PersistentVolumeClaim", key) })
        for event in (events ?? []).filter({ $0.type == "Warning" }).suffix(3) {
            add(.problem("event", "\(event.reason ?? ""): \(event.message ?? "")"))
        }
    }

    private mutating func explain(_ pod: PodView) async throws(APIError) {
        let client = client
        let about = "pod \(pod.key.name)"
        guard let node = pod.spec?.nodeName else {
            let condition = pod.status?.conditions?.first { $0.type == "PodScheduled" && $0.status == "False" }
            return add(
                .problem(about, "it has no node: \(condition?.message ?? "the scheduler hasn't chosen one yet")"))
        }
        if pod.isReady {
            add(.fine(about, "it runs on node \(node)"))
        } else {
            let key = pod.key
            let events = try await look(
                about, { () async throws(APIError) in try await client.events(on: "Pod", key) })
            if let event = events?.last(where: { $0.type == "Warning" }) {
                add(.problem(about, "\(event.reason ?? ""): \(event.message ?? "")"))
            } else {
                add(.unknown(about, "it is \(pod.status?.phase ?? "?") on node \(node), without a warning"))
            }
        }
        guard
            let csi = try await look(
                "node", { () async throws(APIError) in try await client.get(CSINodeView.self, node) })
        else { return }
        if csi.spec.drivers?.contains(where: { $0.name == Names.defaultDriver }) != true {
            add(
                .problem(
                    "node \(node)", "millrace's plugin isn't registered there: does its DaemonSet tolerate the node?"))
        }
        let nodes = try await NodeMetrics.read(client, on: node)
        for metrics in nodes { for finding in metrics.findings { add(finding) } }
    }
}

struct CSIDriverView: KubernetesObject {
    static let resource = Resource(
        group: "storage.k8s.io", version: "v1", plural: "csidrivers", kind: "CSIDriver", isNamespaced: false)
    var metadata: ObjectMeta
}

struct CSINodeView: KubernetesObject {
    static let resource = Resource(
        group: "storage.k8s.io", version: "v1", plural: "csinodes", kind: "CSINode", isNamespaced: false)
    struct Spec: Codable, Sendable { var drivers: [Driver]? }
    struct Driver: Codable, Sendable { var name: String }
    var metadata: ObjectMeta
    var spec: Spec
}

struct ExplainCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain", abstract: "Says why a claim is Pending, a pod doesn't start, or a mount is slow.",
        discussion: "The exit status is 1 where something stands in the way.")
    @OptionGroup var place: Place
    @OptionGroup var output: OutputOptions
    @Argument(help: "The claim: its name, or namespace/name.") var claim: String

    func run() async throws {
        let session = try place.session()
        var explanation = Explanation(client: session.client, claim: try session.key(claim))
        try await explanation.run()
        print(rendered(explanation.findings, as: output.format, none: "Nothing to say."))
        if explanation.findings.contains(where: { $0.verdict == .problem }) { throw ExitCode(1) }
    }
}
