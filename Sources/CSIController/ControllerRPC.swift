import CSIProtocol
import Controller
import GRPCCore

/// The CSI Controller service, for a server that has other services too.
public func controllerService(_ volumes: VolumeService) -> any RegistrableRPCService { ControllerRPC(volumes: volumes) }

/// The CSI Controller service: checks requests and passes them to `VolumeService`. Secrets in requests aren't looked at.
struct ControllerRPC: Csi_V1_Controller.SimpleServiceProtocol {
    let volumes: VolumeService

    func createVolume(
        request: Csi_V1_CreateVolumeRequest, context: ServerContext
    ) async throws -> Csi_V1_CreateVolumeResponse {
        try await answer {
            guard !request.name.isEmpty else { throw VolumeError(.invalidArgument, "name is missing") }
            guard !request.volumeCapabilities.isEmpty else {
                throw VolumeError(.invalidArgument, "volume_capabilities are missing")
            }
            if let problem = Self.problem(request.volumeCapabilities) { throw VolumeError(.invalidArgument, problem) }
            guard !request.hasVolumeContentSource else {
                throw VolumeError(
                    .invalidArgument, "volume_content_source: volumes aren't made from snapshots or volumes")
            }
            guard request.mutableParameters.isEmpty else {
                throw VolumeError(.invalidArgument, "mutable_parameters: nothing of a volume can be modified")
            }
            let volume = try volumes.create(
                name: request.name, requiredBytes: request.capacityRange.requiredBytes,
                limitBytes: request.capacityRange.limitBytes, parameters: request.parameters)
            return .with { $0.volume = Self.message(volume) }
        }
    }

    func deleteVolume(
        request: Csi_V1_DeleteVolumeRequest, context: ServerContext
    ) async throws -> Csi_V1_DeleteVolumeResponse {
        try await answer {
            try volumes.delete(request.volumeID)
            return Csi_V1_DeleteVolumeResponse()
        }
    }

    func validateVolumeCapabilities(
        request: Csi_V1_ValidateVolumeCapabilitiesRequest, context: ServerContext
    ) async throws -> Csi_V1_ValidateVolumeCapabilitiesResponse {
        try await answer {
            guard !request.volumeID.isEmpty else { throw VolumeError(.invalidArgument, "volume_id is missing") }
            guard !request.volumeCapabilities.isEmpty else {
                throw VolumeError(.invalidArgument, "volume_capabilities are missing")
            }
            _ = try volumes.find(request.volumeID)
            if let problem = Self.problem(request.volumeCapabilities) { return .with { $0.message = problem } }
            return .with {
                $0.confirmed.volumeContext = request.volumeContext
                $0.confirmed.volumeCapabilities = request.volumeCapabilities
                $0.confirmed.parameters = request.parameters
            }
        }
    }

    func listVolumes(
        request: Csi_V1_ListVolumesRequest, context: ServerContext
    ) async throws -> Csi_V1_ListVolumesResponse {
        try await answer {
            let page = try volumes.list(after: request.startingToken, limit: Int(request.maxEntries))
            return .with {
                $0.entries = page.volumes.map { volume in .with { $0.volume = Self.message(volume) } }
                $0.nextToken = page.next ?? ""
            }
        }
    }

    func controllerGetVolume(
        request: Csi_V1_ControllerGetVolumeRequest, context: ServerContext
    ) async throws -> Csi_V1_ControllerGetVolumeResponse {
        try await answer {
            let volume = try volumes.find(request.volumeID)
            return .with {
                $0.volume = Self.message(volume)
                $0.status = Csi_V1_ControllerGetVolumeResponse.VolumeStatus()
            }
        }
    }

    /// S3 has no end: an exbibyte, as a number has to be said.
    func getCapacity(
        request: Csi_V1_GetCapacityRequest, context: ServerContext
    ) async throws -> Csi_V1_GetCapacityResponse {
        try await answer {
            if !request.volumeCapabilities.isEmpty, let problem = Self.problem(request.volumeCapabilities) {
                throw VolumeError(.invalidArgument, problem)
            }
            return .with { $0.availableCapacity = 1 << 60 }
        }
    }

    func controllerGetCapabilities(
        request: Csi_V1_ControllerGetCapabilitiesRequest, context: ServerContext
    ) async throws -> Csi_V1_ControllerGetCapabilitiesResponse {
        let types: [Csi_V1_ControllerServiceCapability.RPC.TypeEnum] = [
            .createDeleteVolume, .listVolumes, .getVolume, .getCapacity, .singleNodeMultiWriter,
        ]
        return .with { $0.capabilities = types.map { type in .with { $0.rpc.type = type } } }
    }

    // MARK: What there is not

    private func unimplemented(_ call: String) -> RPCError {
        RPCError(code: .unimplemented, message: "\(call) isn't offered; see ControllerGetCapabilities")
    }
    func controllerPublishVolume(
        request: Csi_V1_ControllerPublishVolumeRequest, context: ServerContext
    ) async throws -> Csi_V1_ControllerPublishVolumeResponse { throw unimplemented("ControllerPublishVolume") }
    func controllerUnpublishVolume(
        request: Csi_V1_ControllerUnpublishVolumeRequest, context: ServerContext
    ) async throws -> Csi_V1_ControllerUnpublishVolumeResponse { throw unimplemented("ControllerUnpublishVolume") }
    func createSnapshot(
        request: Csi_V1_CreateSnapshotRequest, context: ServerContext
    ) async throws -> Csi_V1_CreateSnapshotResponse { throw unimplemented("CreateSnapshot") }
    func deleteSnapshot(
        request: Csi_V1_DeleteSnapshotRequest, context: ServerContext
    ) async throws -> Csi_V1_DeleteSnapshotResponse { throw unimplemented("DeleteSnapshot") }
    func listSnapshots(
        request: Csi_V1_ListSnapshotsRequest, context: ServerContext
    ) async throws -> Csi_V1_ListSnapshotsResponse { throw unimplemented("ListSnapshots") }
    func getSnapshot(
        request: Csi_V1_GetSnapshotRequest, context: ServerContext
    ) async throws -> Csi_V1_GetSnapshotResponse { throw unimplemented("GetSnapshot") }
    func controllerExpandVolume(
        request: Csi_V1_ControllerExpandVolumeRequest, context: ServerContext
    ) async throws -> Csi_V1_ControllerExpandVolumeResponse { throw unimplemented("ControllerExpandVolume") }
    func controllerModifyVolume(
        request: Csi_V1_ControllerModifyVolumeRequest, context: ServerContext
    ) async throws -> Csi_V1_ControllerModifyVolumeResponse { throw unimplemented("ControllerModifyVolume") }

    // MARK: Words

    private static func message(_ volume: CSIVolume) -> Csi_V1_Volume {
        .with {
            $0.volumeID = volume.id
            $0.capacityBytes = volume.capacityBytes
            $0.volumeContext = volume.context
        }
    }

    /// Why a volume of ours can't have these capabilities. Writing modes are taken, and mounted read-only.
    private static func problem(_ capabilities: [Csi_V1_VolumeCapability]) -> String? {
        for capability in capabilities {
            switch capability.accessType {
            case .mount: break
            case .block: return "volume_capability.block: files can't be a block device; use mount"
            case nil: return "volume_capability.access_type is missing"
            }
            switch capability.accessMode.mode {
            case .unknown, .UNRECOGNIZED: return "volume_capability.access_mode is missing or unknown"
            default: break
            }
        }
        return nil
    }

    private func answer<Response>(_ call: () throws -> Response) async throws -> Response {
        do { return try call() } catch let error as VolumeError {
            let code: RPCError.Code =
                switch error.code {
                case .invalidArgument: .invalidArgument
                case .notFound: .notFound
                case .alreadyExists: .alreadyExists
                case .outOfRange: .outOfRange
                case .failedPrecondition: .failedPrecondition
                case .permissionDenied: .permissionDenied
                case .aborted: .aborted
                }
            throw RPCError(code: code, message: error.message)
        }
    }
}
