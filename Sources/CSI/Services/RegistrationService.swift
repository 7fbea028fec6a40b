import CSIProtocol
import GRPCCore
import Logging

/// The kubelet's plugin registration: what the node-driver-registrar sidecar does elsewhere.
struct RegistrationService: Pluginregistration_Registration.SimpleServiceProtocol {
    let driverName: String
    /// The CSI socket as the kubelet sees it.
    let endpoint: String
    let logger: Logger

    func getInfo(
        request: Pluginregistration_InfoRequest, context: ServerContext
    ) async throws -> Pluginregistration_PluginInfo {
        .with {
            $0.type = "CSIPlugin"
            $0.name = driverName
            $0.endpoint = endpoint
            $0.supportedVersions = ["1.0.0"]
        }
    }

    func notifyRegistrationStatus(
        request: Pluginregistration_RegistrationStatus, context: ServerContext
    ) async throws -> Pluginregistration_RegistrationStatusResponse {
        if request.pluginRegistered {
            logger.info("registered with the kubelet", metadata: ["driver": "\(driverName)"])
        } else {
            // It tries again by itself as long as the socket is there.
            logger.error("the kubelet refused the registration", metadata: ["error": "\(request.error)"])
        }
        return Pluginregistration_RegistrationStatusResponse()
    }
}
