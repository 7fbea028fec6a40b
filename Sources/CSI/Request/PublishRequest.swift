import CLinux
import CSIProtocol
import NodeProtocol

/// What every NodePublishVolume must have right, a repeated one too.
struct PublishTarget: Equatable {
    var volumeID: String
    var path: String
    /// One target at a time may have the volume.
    var isExclusive: Bool

    init(_ request: Csi_V1_NodePublishVolumeRequest) throws(Refusal) {
        try Checks.volumeID(request.volumeID)
        volumeID = request.volumeID
        path = try Checks.path(request.targetPath, "target_path")
        isExclusive = request.volumeCapability.accessMode.mode == .singleNodeSingleWriter
        guard request.hasVolumeCapability else { throw .invalid("volume_capability is missing") }
        switch request.volumeCapability.accessType {
        case .mount: break
        case .block: throw .invalid("volume_capability: block is not supported, only mount")
        case nil: throw .invalid("volume_capability has no access_type; it must be mount")
        }
        switch request.volumeCapability.accessMode.mode {
        // A volume is read-only, whatever its mode would allow.
        case .singleNodeWriter, .singleNodeReaderOnly, .multiNodeReaderOnly, .multiNodeSingleWriter,
            .multiNodeMultiWriter, .singleNodeSingleWriter, .singleNodeMultiWriter:
            break
        case .unknown, .UNRECOGNIZED: throw .invalid("volume_capability has no access_mode that is known")
        }
    }
}

/// What is to be shown at a target, and with which credentials.
struct PublishContent {
    var spec: SessionSpec
    var credentials: SessionCredentials
    var flags: MountFlags

    /// `ambient`: secrets for a request that has none and names no pod. With a pod they'd be anybody's who can make a
    /// volume.
    init(_ request: Csi_V1_NodePublishVolumeRequest, ambient: [String: String] = [:]) throws(Refusal) {
        try Checks.map(request.volumeContext, "volume_context")
        try Checks.map(request.publishContext, "publish_context")
        try Checks.map(request.secrets, "secrets")
        flags = try MountFlags(request.volumeCapability.mount.mountFlags)
        let attributes = try VolumeAttributes(request.volumeContext)
        try attributes.checkGrant()
        let takesAmbient = request.secrets.isEmpty && attributes.podNamespace == nil && attributes.needsKeys
        let secrets = try VolumeSecrets(takesAmbient ? ambient : request.secrets)
        credentials = try secrets.credentials(for: attributes)
        spec = attributes.view
        spec.endpoint = spec.endpoint ?? secrets.endpoint
        spec.region = spec.region ?? secrets.region
        spec.scope = credentials.scope(for: attributes)
    }
}

/// The mount flags (a PV's mountOptions) that make sense on a read-only mount.
struct MountFlags: Equatable {
    /// MOUNT_ATTR_* bits.
    private(set) var attributes: UInt64 = 0

    init(_ flags: [String]) throws(Refusal) {
        for flag in flags.flatMap({ $0.split(separator: ",") }) {
            switch flag {
            case "ro", "nosuid", "nodev", "relatime": break
            case "noexec": attributes |= clinux_mount_noexec
            case "noatime": attributes |= clinux_mount_noatime
            case "nodiratime": attributes |= clinux_mount_nodiratime
            case "rw": throw .invalid("mount flag \"rw\": volumes of this driver are read-only")
            default:
                throw .invalid(
                    "mount flag \(Checks.quoted(String(flag))) is not known; a dataset's options are volume attributes"
                )
            }
        }
    }
}
