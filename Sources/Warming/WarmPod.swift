import Controller
import Kubernetes

/// A pod that brings a Dataset's data into one node's cache. A type of its own, with the fields that are set here.
public struct WarmPod: KubernetesObject {
    public static let resource = Resource(group: "", version: "v1", plural: "pods", kind: "Pod", isNamespaced: true)
    static let progressPort = 8090

    struct Spec: Encodable, Sendable {
        var restartPolicy = "OnFailure"
        var activeDeadlineSeconds: Int?
        var automountServiceAccountToken = false
        var enableServiceLinks = false
        var terminationGracePeriodSeconds = 10
        var affinity: Affinity?
        var tolerations: [Toleration]?
        var securityContext: PodSecurity?
        var imagePullSecrets: [Name]?
        var containers: [Container]
        var volumes: [Volume]?
    }
    struct Affinity: Encodable, Sendable { var nodeAffinity: NodeAffinity }
    struct Name: Encodable, Sendable { var name: String }
    struct PodSecurity: Encodable, Sendable {
        var runAsUser: Int?
        var runAsGroup: Int?
        var runAsNonRoot: Bool?
        var seccompProfile: [String: String]?
    }
    struct Container: Encodable, Sendable {
        var name: String
        var image: String?
        var command: [String]?
        var ports: [[String: Int]]?
        var resources: [String: [String: String]]?
        var securityContext: Security?
        var terminationMessagePolicy: String?
        var volumeMounts: [Mount]?
    }
    struct Security: Encodable, Sendable {
        var allowPrivilegeEscalation = false
        var readOnlyRootFilesystem = true
        var capabilities = ["drop": ["ALL"]]
    }
    struct Mount: Encodable, Sendable {
        var name: String
        var mountPath: String
        var readOnly: Bool?
    }
    struct Volume: Encodable, Sendable {
        struct Claim: Encodable, Sendable {
            var claimName: String
            var readOnly: Bool?
        }
        var name: String
        var persistentVolumeClaim: Claim?
    }

    public var metadata: ObjectMeta
    /// Written, never read: anybody may give a pod our label.
    var spec: Spec?
    public var status: Pod.Status?

    private enum CodingKeys: String, CodingKey { case metadata, spec, status }

    init(metadata: ObjectMeta, spec: Spec) {
        self.metadata = metadata
        self.spec = spec
    }

    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        metadata = try fields.decode(ObjectMeta.self, forKey: .metadata)
        status = try fields.decodeIfPresent(Pod.Status.self, forKey: .status)
    }
}

/// What all pods of warm-ups are like.
public struct WarmPodSettings: Sendable {
    public var image = "millrace/millrace:latest"
    public var imagePullSecrets: [String] = []
    public init() {}
}

enum WarmPods {
    /// Whose pod or claim it is: a Dataset's or a DatasetLoad's UID.
    static let ownerLabel = "millrace.dev/warm"
    private static let directory = "/data"
    /// Nodes that keep what is unprivileged out read files as this one.
    private static let nobody = 65532
    /// A day.
    private static let defaultTimeoutSeconds = 86_400

    static func name(_ owner: WarmOwner, _ attempt: String) -> String {
        let name = owner.key.name.prefix(30).map { $0 == "." ? "-" : $0 }
        return "warm-\(String(name))-\(attempt)"
    }

    static func make(
        _ node: Dataset.WarmNode, attempt: String, for owner: WarmOwner, claim: String, mount: Dataset.Mount?,
        _ settings: WarmPodSettings
    ) -> WarmPod {
        var command = ["millrace", "warm", directory]
        for glob in node.globs ?? [] { command += ["--glob", glob] }
        command += ["--progress-address", "0.0.0.0:\(WarmPod.progressPort)", "--result-file", "/dev/termination-log"]
        // Who may read the files: their owner, where they have one.
        let user = mount?.uid ?? nobody
        let pod = WarmPod.Spec(
            activeDeadlineSeconds: owner.warm.timeoutSeconds ?? defaultTimeoutSeconds,
            affinity: .init(
                nodeAffinity: NodeAffinity(required: [
                    .init(matchFields: [.init(key: "metadata.name", operator: "In", values: [node.name])])
                ])),
            tolerations: owner.warm.tolerations,
            securityContext: .init(
                runAsUser: user, runAsGroup: mount?.gid ?? user, runAsNonRoot: user == 0 ? nil : true,
                seccompProfile: ["type": "RuntimeDefault"]),
            imagePullSecrets: settings.imagePullSecrets.isEmpty
                ? nil : settings.imagePullSecrets.map { .init(name: $0) },
            containers: [
                .init(
                    name: "warm", image: settings.image, command: command,
                    ports: [["containerPort": WarmPod.progressPort]],
                    resources: [
                        "requests": ["cpu": "10m", "memory": "32Mi"], "limits": ["memory": "256Mi"],
                    ], securityContext: .init(), terminationMessagePolicy: "FallbackToLogsOnError",
                    volumeMounts: [.init(name: "data", mountPath: directory, readOnly: true)])
            ],
            volumes: [.init(name: "data", persistentVolumeClaim: .init(claimName: claim, readOnly: true))])
        return WarmPod(
            metadata: ObjectMeta(
                name: name(owner, attempt), namespace: owner.key.namespace,
                labels: [
                    ownerLabel: owner.uid, Names.managedBy: Names.controller, "app.kubernetes.io/component": "warm",
                ], ownerReferences: [owner.reference]), spec: pod)
    }
}
