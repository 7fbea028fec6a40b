import Kubernetes

/// A pod with what these commands say of it.
struct PodView: KubernetesObject {
    static let resource = Pod.resource
    struct Spec: Codable, Sendable {
        var nodeName: String?
        var volumes: [Pod.Volume]?
    }
    struct Status: Codable, Sendable {
        var phase: String?
        var podIP: String?
        var conditions: [PodCondition]?
    }
    struct PodCondition: Codable, Sendable {
        var type: String
        var status: String
        var reason: String?
        var message: String?
    }

    var metadata: ObjectMeta
    var spec: Spec?
    var status: Status?

    func mounts(claim: String) -> Bool {
        spec?.volumes?.contains { $0.persistentVolumeClaim?.claimName == claim } ?? false
    }
    var isOver: Bool { ["Succeeded", "Failed"].contains(status?.phase) }
    var isReady: Bool { status?.conditions?.contains { $0.type == "Ready" && $0.status == "True" } ?? false }
}

/// One of millrace's own kinds of which only a few members matter here.
struct LooseImport: KubernetesObject {
    static let resource = Resource(
        group: "millrace.dev", version: "v1alpha1", plural: "datasetimports", kind: "DatasetImport", isNamespaced: true)
    var metadata: ObjectMeta
    var spec: JSON
    var status: JSON?
}

struct LooseLoad: KubernetesObject {
    static let resource = Resource(
        group: "millrace.dev", version: "v1alpha1", plural: "datasetloads", kind: "DatasetLoad", isNamespaced: true)
    var metadata: ObjectMeta
    var spec: JSON
    var status: JSON?
}

/// `nil` where the API has no such object, or no such kind.
func found<T: Sendable>(_ call: () async throws(APIError) -> T) async throws(APIError) -> T? {
    do throws(APIError) { return try await call() } catch {
        guard error.isNotFound else { throw error }
        return nil
    }
}
