import Controller
import Kubernetes

/// Who has a warm-up: a Dataset, which keeps it, or a DatasetLoad, which has it done once.
struct WarmOwner: Sendable {
    var key: ObjectKey
    var uid: String
    var reference: OwnerReference
    var warm: Dataset.Warm
    var status: Dataset.WarmStatus?
    /// Keeps nodes warm and labels them; a DatasetLoad doesn't.
    var isKept: Bool

    init(_ dataset: Dataset, warm: Dataset.Warm) {
        key = dataset.key
        uid = dataset.metadata.uid ?? ""
        reference = OwnerReference(
            apiVersion: Dataset.resource.apiVersion, kind: "Dataset", name: dataset.key.name, uid: uid, controller: true
        )
        self.warm = warm
        status = dataset.status?.warm
        isKept = true
    }

    init(_ load: DatasetLoad) {
        key = load.key
        uid = load.metadata.uid ?? ""
        reference = OwnerReference(
            apiVersion: DatasetLoad.resource.apiVersion, kind: "DatasetLoad", name: load.key.name, uid: uid,
            controller: true)
        warm = load.spec.warm
        status = load.status
        isKept = false
    }
}
