import Controller
import Kubernetes

/// A volume with what is looked at here: which revision it shows. All else of ten thousand volumes would be kept for
/// nothing.
struct RevisionVolume: KubernetesObject {
    static let resource = PersistentVolume.resource

    struct Shown: Sendable {
        var dataset: ObjectKey
        var id: String
        var claim: ObjectKey?
    }

    /// The name and the version.
    var metadata: ObjectMeta
    /// Nil: a volume without a revision.
    var shown: Shown?

    private enum CodingKeys: CodingKey { case metadata }

    init(from decoder: any Decoder) throws {
        let volume = try PersistentVolume(from: decoder)
        metadata = ObjectMeta(name: volume.metadata.name)
        metadata.resourceVersion = volume.metadata.resourceVersion
        guard let attributes = volume.spec.csi?.volumeAttributes, attributes["manifest"] != nil,
            let id = attributes[Names.revision], let text = attributes[Names.dataset]
        else { return }
        let parts = text.split(separator: "/").map(String.init)
        guard parts.count == 2 else { return }
        let claim = volume.spec.claimRef.map { ObjectKey(namespace: $0.namespace, name: $0.name ?? "") }
        shown = Shown(dataset: ObjectKey(namespace: parts[0], name: parts[1]), id: id, claim: claim)
    }
}
