import CSIProtocol
import GRPCCore
import NodeProtocol

/// CSI's Node service: checks nothing and does nothing itself, see `VolumeManager`.
struct NodeService: Csi_V1_Node.SimpleServiceProtocol {
    let nodeID: String
    /// 0: as many as fit.
    let maxVolumes: Int64
    let volumes: VolumeManager
    let pool: BlockingPool

    func nodePublishVolume(
        request: Csi_V1_NodePublishVolumeRequest, context: ServerContext
    ) async throws -> Csi_V1_NodePublishVolumeResponse {
        try await pool.run { () throws(Refusal) in try volumes.publish(request) }
        return Csi_V1_NodePublishVolumeResponse()
    }

    func nodeUnpublishVolume(
        request: Csi_V1_NodeUnpublishVolumeRequest, context: ServerContext
    ) async throws -> Csi_V1_NodeUnpublishVolumeResponse {
        try await pool.run { () throws(Refusal) in
            try volumes.unpublish(volumeID: request.volumeID, targetPath: request.targetPath)
        }
        return Csi_V1_NodeUnpublishVolumeResponse()
    }

    func nodeGetVolumeStats(
        request: Csi_V1_NodeGetVolumeStatsRequest, context: ServerContext
    ) async throws -> Csi_V1_NodeGetVolumeStatsResponse {
        let statistics = try await pool.run { () throws(Refusal) in
            try volumes.statistics(volumeID: request.volumeID, volumePath: request.volumePath)
        }
        return .with {
            // Of the dataset, as far as listings have told. It is read-only, so nothing is left to fill.
            let known = statistics ?? SessionStatistics(bytes: 0, objects: 0)
            $0.usage = [(.bytes, known.bytes), (.inodes, known.objects)].map { unit, used in
                .with {
                    $0.unit = unit
                    $0.used = Int64(clamping: used)
                    $0.total = Int64(clamping: used)
                }
            }
            $0.volumeCondition = .with {
                $0.abnormal = statistics == nil
                $0.message =
                    statistics == nil
                    ? "the volume's session is lost, its reads fail; publish the volume again" : "the volume is served"
            }
        }
    }

    func nodeGetCapabilities(
        request: Csi_V1_NodeGetCapabilitiesRequest, context: ServerContext
    ) async throws -> Csi_V1_NodeGetCapabilitiesResponse {
        .with {
            $0.capabilities = [.getVolumeStats, .singleNodeMultiWriter].map { type in
                .with { $0.rpc = .with { $0.type = type } }
            }
        }
    }

    func nodeGetInfo(
        request: Csi_V1_NodeGetInfoRequest, context: ServerContext
    ) async throws -> Csi_V1_NodeGetInfoResponse {
        .with {
            $0.nodeID = nodeID
            $0.maxVolumesPerNode = maxVolumes
        }
    }

    func nodeStageVolume(
        request: Csi_V1_NodeStageVolumeRequest, context: ServerContext
    ) async throws -> Csi_V1_NodeStageVolumeResponse { throw Self.unimplemented("NodeStageVolume") }

    func nodeUnstageVolume(
        request: Csi_V1_NodeUnstageVolumeRequest, context: ServerContext
    ) async throws -> Csi_V1_NodeUnstageVolumeResponse { throw Self.unimplemented("NodeUnstageVolume") }

    func nodeExpandVolume(
        request: Csi_V1_NodeExpandVolumeRequest, context: ServerContext
    ) async throws -> Csi_V1_NodeExpandVolumeResponse { throw Self.unimplemented("NodeExpandVolume") }

    private static func unimplemented(_ call: String) -> RPCError {
        RPCError(code: .unimplemented, message: "\(call) is not among this driver's capabilities")
    }
}
