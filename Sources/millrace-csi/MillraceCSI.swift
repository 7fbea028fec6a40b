import ArgumentParser
import CSI
import CSIController
import Controller
import GRPCCore
import Glibc
import Logging
import Logs
import Threads

struct MillraceCSI: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "millrace-csi", abstract: "The CSI node plugin: S3 datasets as volumes.", version: Plugin.version)

    @Option(help: "The CSI socket, like unix:///csi/csi.sock.")
    var endpoint: String
    @Option(help: "This node's name.")
    var nodeId: String
    @Option(help: "The driver's name, as in the CSIDriver object.")
    var driverName = "s3.csi.millrace.dev"
    @Option(help: "Where mounts, journal and sockets are (default: millrace, beside the endpoint).")
    var stateDir: String?
    @Option(help: "Where the sockets of engine and keeper are (default: run, in the state directory).")
    var runDir: String?
    @Option(help: "Serve the kubelet's registration at this socket in plugins_registry.")
    var registrationSocket: String?
    @Option(help: "The CSI socket's path as the kubelet sees it (default: the endpoint's).")
    var kubeletEndpoint: String?
    @Option(help: "The socket of an engine that runs already (default: start one).")
    var engineSocket: String?
    @Option(help: "The socket of a keeper that runs already (default: start one).")
    var keeperSocket: String?
    @Option(help: "UID:GID that the engine and the keeper become.")
    var childUser: String?
    @Option(help: "Memory for the engine's cache, like 512Mi.")
    var memory: String?
    @Option(help: "A directory for the engine's cache on disk.")
    var cacheDir: String?
    @Option(help: "How much the cache on disk may take, like 50Gi.")
    var cacheSize: String?
    @Option(help: "URLs of web servers may lead to these addresses of the machine or its link, like 10.0.0.0/8.")
    var allowAddress: [String] = []
    @Option(help: "What the cache on disk leaves free for others, like 5Gi (default: 1Gi, or 5 % of a small disk).")
    var cacheMinFree: String?
    @Option(help: "Where the engine serves its metrics, like 127.0.0.1:9809.")
    var metrics: String?
    @Option(
        parsing: .unconditionalSingleValue,
        help: "Another argument for the engine, like --engine-argument=--workers=4; may be repeated.")
    var engineArgument: [String] = []
    @Option(help: "Volumes that may be published on this node; 0 for no limit.")
    var maxVolumes: Int64 = 0
    @Flag(help: "Serve no Controller service, and say that the driver has none.")
    var nodeOnly = false
    @Option(help: "trace, debug, info, notice, warning, error or critical.")
    var logLevel = "info"
    @Option(help: "text or json.")
    var logFormat = "text"

    func options() throws -> PluginOptions {
        guard let path = PluginOptions.path(ofEndpoint: endpoint) else {
            throw ValidationError("--endpoint is unix:// and an absolute path, not \(endpoint)")
        }
        guard !nodeId.isEmpty, nodeId.utf8.count <= 256 else {
            throw ValidationError("--node-id is a name of 1 to 256 bytes")
        }
        var options = PluginOptions(endpoint: path, nodeID: nodeId, stateDirectory: stateDir)
        options.driverName = driverName
        options.socketsDirectory = runDir
        options.registrationSocket = registrationSocket
        options.endpointForKubelet = kubeletEndpoint
        options.engineSocket = engineSocket
        options.keeperSocket = keeperSocket
        options.maxVolumes = maxVolumes
        options.hasController = !nodeOnly
        options.ambientSecrets = PluginOptions.ambientSecrets { getenv($0).map { String(cString: $0) } }
        if let childUser {
            let parts = childUser.split(separator: ":", omittingEmptySubsequences: false).map { UInt32($0) }
            guard parts.count == 2, let uid = parts[0], let gid = parts[1] else {
                throw ValidationError("--child-user is UID:GID in numbers, not \(childUser)")
            }
            options.childUser = (uid, gid)
        }
        for (name, value) in [
            ("--memory", memory), ("--cache-dir", cacheDir), ("--cache-size", cacheSize),
            ("--cache-min-free", cacheMinFree), ("--metrics", metrics),
            ("--log-level", logLevel), ("--log-format", logFormat),
        ] {
            if let value { options.engineArguments += [name, value] }
        }
        for range in allowAddress { options.engineArguments += ["--allow-address", range] }
        options.engineArguments += engineArgument
        return options
    }

    /// Where no kubelet is, one plugin is all there is: csi-sanity, Nomad's monoliths and Swarm ask its socket for volumes,
    /// too. In a cluster millrace-controller answers.
    private func controller(_ options: PluginOptions) throws -> [any RegistrableRPCService] {
        if nodeOnly || options.registrationSocket != nil { return [] }
        let ids = VolumeIDs(key: try VolumeKey.load(file: nil, besides: options.endpoint))
        return [controllerService(VolumeService(ids: ids))]
    }

    func run() throws {
        let options = try options()
        guard let level = Logger.Level(rawValue: logLevel), let format = LogOutput.Format(rawValue: logFormat) else {
            throw ValidationError("--log-level or --log-format is not one of those that --help lists")
        }
        LogOutput.bootstrap(level: level, format: format)
        let logger = Logger(label: "csi")
        let plugin = Plugin(options, others: try controller(options), logger: logger)
        let ending = Promise<String?>()
        Task {
            do {
                try await plugin.run()
                ending.fulfil(nil)
            } catch {
                ending.fulfil("\(error)")
            }
        }
        if let failure = ending.wait(until: .distantFuture) ?? nil {
            logger.critical("cannot go on", metadata: ["error": "\(failure)"])
            throw ExitCode(1)
        }
    }
}

@main
enum Program {
    /// Not async: an async main may run on another thread, and the first must block the signals before there is one.
    static func main() {
        Termination.block()
        MillraceCSI.main()
    }
}
