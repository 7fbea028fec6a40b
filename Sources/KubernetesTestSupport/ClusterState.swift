import Kubernetes

/// Work that waits for the built-in controllers, and what they need to find things fast.
struct ClusterState {
    enum Work: Hashable {
        case claim(ObjectKey)
        case volume(String)
        case pod(ObjectKey)
        case namespace(String)
        case orphans(uid: String)
    }

    private(set) var pending: [Work] = []
    private var isPending: Set<Work> = []
    /// Claims by the class they name, and volumes by the claim they name ("" where none).
    private(set) var volumesOfClaim: [ObjectKey?: Set<String>] = [:]
    private(set) var waitingClaims: Set<ObjectKey> = []
    private(set) var dependents: [String: Set<Dependent>] = [:]

    struct Dependent: Hashable {
        var table: String
        var key: ObjectKey
    }

    mutating func add(_ work: Work) {
        if isPending.insert(work).inserted { pending.append(work) }
    }

    mutating func take(at index: Int = 0) -> Work? {
        guard pending.indices.contains(index) else { return nil }
        let work = pending.remove(at: index)
        isPending.remove(work)
        return work
    }

    static func claim(of volume: JSON?) -> ObjectKey? {
        guard let reference = volume?.at("spec", "claimRef"), let name = reference["name"]?.string else { return nil }
        return ObjectKey(namespace: reference["namespace"]?.string, name: name)
    }

    /// A change was stored: who has to look?
    mutating func note(_ change: ServerState.Change) {
        guard let object = change.new ?? change.old, let name = object.at("metadata", "name")?.string else { return }
        let namespace = object.at("metadata", "namespace")?.string
        let key = ObjectKey(namespace: namespace, name: name)
        for owner in object.at("metadata", "ownerReferences")?.array ?? [] {
            guard let uid = owner["uid"]?.string else { continue }
            let dependent = Dependent(table: change.table, key: key)
            if change.new == nil {
                dependents[uid]?.remove(dependent)
            } else {
                dependents[uid, default: []].insert(dependent)
            }
        }
        if change.new == nil, let uid = object.at("metadata", "uid")?.string, dependents[uid] != nil {
            add(.orphans(uid: uid))
        }
        if let namespace, change.new == nil { add(.namespace(namespace)) }
        switch change.table {
        case "/persistentvolumeclaims":
            let isWaiting = change.new != nil && object.at("spec", "volumeName") == nil
            if isWaiting { waitingClaims.insert(key) } else { waitingClaims.remove(key) }
            add(.claim(key))
            for volume in volumesOfClaim[key] ?? [] { add(.volume(volume)) }
            if let volume = object.at("spec", "volumeName")?.string { add(.volume(volume)) }
        case "/persistentvolumes":
            let before = Self.claim(of: change.old)
            let after = Self.claim(of: change.new)
            volumesOfClaim[before]?.remove(name)
            if volumesOfClaim[before]?.isEmpty == true { volumesOfClaim[before] = nil }
            if change.new != nil { volumesOfClaim[after, default: []].insert(name) }
            add(.volume(name))
            if let claim = after ?? before {
                add(.claim(claim))
            } else {
                for claim in waitingClaims { add(.claim(claim)) }
            }
        case "/pods":
            add(.pod(key))
            for volume in object.at("spec", "volumes")?.array ?? [] {
                if let claim = volume.at("persistentVolumeClaim", "claimName")?.string {
                    add(.claim(ObjectKey(namespace: namespace, name: claim)))
                }
            }
        case "storage.k8s.io/storageclasses": for claim in waitingClaims { add(.claim(claim)) }
        case "/namespaces": add(.namespace(name))
        default: break
        }
    }
}
