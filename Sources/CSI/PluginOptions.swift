import Glibc

/// How the plugin runs. Paths are absolute.
public struct PluginOptions: Sendable {
    /// The CSI socket's path.
    public var endpoint: String
    public var nodeID: String
    public var driverName = "s3.csi.millrace.dev"
    /// Where sessions' mounts, the journal and the sockets of engine and keeper are. On Kubernetes it must be below
    /// the kubelet's directory, which is shared with the host both ways.
    public var stateDirectory: String
    /// Where the sockets of our engine and keeper are; nil: in the state directory.
    public var socketsDirectory: String?
    /// A socket in the kubelet's plugins_registry; nil: a sidecar registers, or nobody.
    public var registrationSocket: String?
    /// The CSI socket as the kubelet sees it, where that differs.
    public var endpointForKubelet: String?
    /// The sockets of an engine and a keeper that others run; nil: ours.
    public var engineSocket: String?
    public var keeperSocket: String?
    /// Who our engine and keeper become; nil: who we are.
    public var childUser: (uid: UInt32, gid: UInt32)?
    /// What else our engine is started with.
    public var engineArguments: [String] = []
    public var maxVolumes: Int64 = 0
    /// Whether the driver's controller runs somewhere.
    public var hasController = true
    /// For volumes that come without secrets and without a pod, which is never Kubernetes: see `ambientSecrets(_:)`.
    public var ambientSecrets: [String: String] = [:]

    public init(endpoint: String, nodeID: String, stateDirectory: String? = nil) {
        self.endpoint = endpoint
        self.nodeID = nodeID
        self.stateDirectory = stateDirectory ?? Self.stateDirectory(besides: endpoint)
    }

    private static func stateDirectory(besides endpoint: String) -> String {
        endpoint.lastIndex(of: "/").map { String(endpoint[..<$0]) + "/millrace" } ?? "/millrace"
    }

    /// The path in "unix:///a/b", "unix:/a/b" or "/a/b"; nil where it is none.
    public static func path(ofEndpoint endpoint: String) -> String? {
        var path = endpoint[...]
        if path.hasPrefix("unix:") { path = path.dropFirst(5) }
        if path.hasPrefix("//") { path = path.dropFirst(2) }
        guard path.hasPrefix("/"), !path.hasSuffix("/"), !path.split(separator: "/").contains("..") else { return nil }
        return String(path)
    }

    /// The keys in an environment, with where they are of, as a volume's secrets; none where a key is missing.
    public static func ambientSecrets(_ environment: (String) -> String?) -> [String: String] {
        let names = [
            "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION",
            "AWS_REGION",
        ]
        var found: [String: String] = [:]
        for name in names {
            if let value = environment(name), !value.isEmpty { found[name] = value }
        }
        if let endpoint = environment("AWS_ENDPOINT_URL_S3"), !endpoint.isEmpty { found["AWS_ENDPOINT_URL"] = endpoint }
        return names.prefix(2).allSatisfy { found[$0] != nil } ? found : [:]
    }

    var sessionsDirectory: String { stateDirectory + "/sessions" }
    var journalDirectory: String { stateDirectory + "/targets" }
    /// Owned by the children's user.
    var runDirectory: String { socketsDirectory ?? stateDirectory + "/run" }
    /// A keeper that others run means a container, which takes our engine with it when it ends.
    var isContained: Bool { keeperSocket != nil && engineSocket == nil }
    func logFile(_ name: String) -> String { isContained ? "/dev/stderr" : stateDirectory + "/\(name).log" }
    var lockFile: String { stateDirectory + "/lock" }
}
