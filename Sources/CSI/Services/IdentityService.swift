import CSIProtocol
import GRPCCore
import SwiftProtobuf

/// CSI's Identity service.
struct IdentityService: Csi_V1_Identity.SimpleServiceProtocol {
    let driverName: String
    let version: String
    /// Whether the driver has a controller, which is a program of its own.
    let hasController: Bool
    /// Whether volumes can be published now. Must not block.
    let isReady: @Sendable () -> Bool

    func getPluginInfo(
        request: Csi_V1_GetPluginInfoRequest, context: ServerContext
    ) async throws -> Csi_V1_GetPluginInfoResponse {
        var response = Csi_V1_GetPluginInfoResponse()
        response.name = driverName
        response.vendorVersion = version
        return response
    }

    func getPluginCapabilities(
        request: Csi_V1_GetPluginCapabilitiesRequest, context: ServerContext
    ) async throws -> Csi_V1_GetPluginCapabilitiesResponse {
        .with {
            if hasController { $0.capabilities = [.with { $0.service.type = .controllerService }] }
        }
    }

    func probe(request: Csi_V1_ProbeRequest, context: ServerContext) async throws -> Csi_V1_ProbeResponse {
        var response = Csi_V1_ProbeResponse()
        response.ready = Google_Protobuf_BoolValue(isReady())
        return response
    }
}
