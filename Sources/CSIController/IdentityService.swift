import CSIProtocol
import GRPCCore
import SwiftProtobuf

struct IdentityService: Csi_V1_Identity.SimpleServiceProtocol {
    let driver: String
    let version: String
    let isReady: @Sendable () -> Bool

    func getPluginInfo(
        request: Csi_V1_GetPluginInfoRequest, context: ServerContext
    ) async throws -> Csi_V1_GetPluginInfoResponse {
        .with {
            $0.name = driver
            $0.vendorVersion = version
        }
    }

    func getPluginCapabilities(
        request: Csi_V1_GetPluginCapabilitiesRequest, context: ServerContext
    ) async throws -> Csi_V1_GetPluginCapabilitiesResponse {
        .with { $0.capabilities = [.with { $0.service.type = .controllerService }] }
    }

    func probe(request: Csi_V1_ProbeRequest, context: ServerContext) async throws -> Csi_V1_ProbeResponse {
        .with { $0.ready = Google_Protobuf_BoolValue(isReady()) }
    }
}
