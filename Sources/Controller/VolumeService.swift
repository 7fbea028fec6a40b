import Kubernetes
import Threads

/// Why a CSI call was refused, in gRPC's words.
public struct VolumeError: Error, Equatable, Sendable {
    public enum Code: Sendable {
        case invalidArgument, notFound, alreadyExists, outOfRange, failedPrecondition, permissionDenied, aborted
    }
    public var code: Code
    public var message: String
    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }
}

/// A volume as CSI sees it.
public struct CSIVolume: Sendable, Equatable {
    public var id: String
    public var capacityBytes: Int64
    public var context: [String: String]
}

/// The CSI Controller service without gRPC: makes volume ids out of names and parameters. It remembers what it made, for
/// listings and to tell a repeated call from a contradicting one; nothing depends on that memory.
public final class VolumeService: Sendable {
    /// Finds the view of a Dataset for a namespace, checking the grant.
    public typealias Resolver =
        @Sendable (ObjectKey, _ namespace: String?, _ subPath: String?) throws(Refusal) -> DatasetView

    private struct Made: Equatable {
        var volume: CSIVolume
        var parameters: [String: String]
    }
    private struct Memory {
        var byName: [String: Made] = [:]
        var nameByID: [String: String] = [:]
        var deleted: Set<String> = []
    }

    /// How many volumes are remembered; more are made all the same.
    private static let mostRemembered = 100_000
    private let ids: VolumeIDs
    private let memory = Locked(Memory())
    private let resolve: Resolver?
    /// Volumes known otherwise: those of Kubernetes.
    private let others: @Sendable () -> [CSIVolume]

    public init(ids: VolumeIDs, resolve: Resolver? = nil, others: @escaping @Sendable () -> [CSIVolume] = { [] }) {
        self.ids = ids
        self.resolve = resolve
        self.others = others
    }

    /// The same name and parameters give the same volume, also after a restart.
    public func create(
        name: String, requiredBytes: Int64, limitBytes: Int64, parameters: [String: String]
    ) throws(VolumeError) -> CSIVolume {
        guard !name.isEmpty else { throw VolumeError(.invalidArgument, "the volume's name is missing") }
        guard name.utf8.count <= 1024 else { throw VolumeError(.invalidArgument, "the volume's name is too long") }
        guard requiredBytes >= 0, limitBytes >= 0 else {
            throw VolumeError(.invalidArgument, "capacity_range: bytes must not be negative")
        }
        guard limitBytes == 0 || requiredBytes <= limitBytes else {
            throw VolumeError(
                .outOfRange, "capacity_range: \(requiredBytes) bytes are required but \(limitBytes) the limit")
        }
        let view: DatasetView
        do throws(Refusal) { view = try self.view(parameters) } catch {
            let code: VolumeError.Code = error.reason == Refusal.notAllowed ? .permissionDenied : .invalidArgument
            throw VolumeError(code, error.message)
        }
        let namespace = parameters["csi.storage.k8s.io/pvc/namespace"] ?? "*"
        let volume = CSIVolume(
            id: ids.id(name: name, showing: view.summary), capacityBytes: requiredBytes,
            context: view.attributes(forNamespace: namespace))
        let made = Made(volume: volume, parameters: parameters)
        return try memory.withLock { memory throws(VolumeError) in
            if let known = memory.byName[name] {
                let fits =
                    known.volume.capacityBytes >= requiredBytes
                    && (limitBytes == 0 || known.volume.capacityBytes <= limitBytes)
                guard fits, known.parameters == parameters else {
                    throw VolumeError(
                        .alreadyExists, "volume \(name.prefix(128)) exists with another capacity or other parameters")
                }
                return known.volume
            }
            memory.deleted.remove(volume.id)
            if memory.byName.count < Self.mostRemembered {
                memory.byName[name] = made
                memory.nameByID[volume.id] = name
            }
            return volume
        }
    }

    private func view(_ parameters: [String: String]) throws(Refusal) -> DatasetView {
        let understood = try ClassParameters(parameters, of: "parameters")
        switch understood.source {
        case .annotation:
            throw Refusal("BadParameters", "parameter datasetAnnotation works with millrace's own provisioner only")
        case .dataset(let key):
            guard let resolve else {
                throw Refusal("BadParameters", "parameter dataset needs Kubernetes; use bucket, prefix and endpoint")
            }
            guard let namespace = parameters["csi.storage.k8s.io/pvc/namespace"] else {
                throw Refusal(
                    Refusal.notAllowed,
                    "parameter dataset needs the claim's namespace: run external-provisioner with --extra-create-metadata"
                )
            }
            let view = try resolve(key, namespace, understood.subPath)
            guard view.origin.nfs == nil else {
                throw Refusal(
                    "BadParameters",
                    "Dataset \(key) is on NFS, which Kubernetes mounts itself: use millrace's provisioner")
            }
            return view
        case .s3(let source):
            var view = DatasetView(source: source)
            view.subPath = understood.subPath
            view.mount = understood.mount
            view.secret = understood.secret
            return view
        }
    }

    /// Forgets the volume. Its data isn't ours to delete.
    public func delete(_ id: String) throws(VolumeError) {
        guard !id.isEmpty else { throw VolumeError(.invalidArgument, "the volume's id is missing") }
        guard ids.read(id) != nil else { return }
        memory.withLock { memory in
            if let name = memory.nameByID.removeValue(forKey: id) { memory.byName[name] = nil }
            if memory.deleted.count < Self.mostRemembered { memory.deleted.insert(id) }
        }
    }

    /// A volume that was made by a controller with our key and wasn't deleted here.
    public func find(_ id: String) throws(VolumeError) -> CSIVolume {
        guard !id.isEmpty else { throw VolumeError(.invalidArgument, "the volume's id is missing") }
        let known: CSIVolume? = memory.withLock { memory in
            if memory.deleted.contains(id) { return nil }
            return memory.nameByID[id].flatMap { memory.byName[$0]?.volume }
                ?? (ids.read(id) == nil ? nil : CSIVolume(id: id, capacityBytes: 0, context: [:]))
        }
        guard let volume = known ?? others().first(where: { $0.id == id }) else {
            throw VolumeError(.notFound, "volume \(id.prefix(VolumeIDs.mostBytes)) isn't one of ours")
        }
        return volume
    }

    /// In the order of ids, so that a page goes on rightly whatever was made or deleted meanwhile.
    public func list(after token: String, limit: Int) throws(VolumeError) -> (volumes: [CSIVolume], next: String?) {
        guard limit >= 0 else { throw VolumeError(.invalidArgument, "max_entries must not be negative") }
        guard token.isEmpty || ids.read(token) != nil else {
            throw VolumeError(.aborted, "starting_token isn't from a listing; start anew without one")
        }
        var all: [String: CSIVolume] = [:]
        for volume in others() { all[volume.id] = volume }
        memory.withLock { memory in
            for made in memory.byName.values { all[made.volume.id] = made.volume }
            for id in memory.deleted { all[id] = nil }
        }
        let rest = all.values.filter { $0.id > token }.sorted { $0.id < $1.id }
        guard limit > 0, rest.count > limit else { return (rest, nil) }
        return (Array(rest.prefix(limit)), rest[limit - 1].id)
    }
}
