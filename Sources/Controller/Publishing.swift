import Kubernetes

public enum PublishDecision: Sendable {
    case nothing
    case create(PersistentVolumeClaim)
    /// It was published and must not be any more; Kubernetes keeps it until no pod uses it.
    case delete(PersistentVolumeClaim)
    /// Somebody's own claim has the name.
    case conflict
}

/// Decides about the claim that a Dataset publishes into a namespace.
public enum Publishing {
    public static let defaultClass = "millrace"
    public static let defaultCapacity = "1Ti"

    public static func decide(_ key: ObjectKey, into name: String, _ tables: Tables) -> [PublishDecision] {
        let dataset = tables.datasets[key]
        let namespace = tables.namespaces[name]
        var decisions: [PublishDecision] = []
        let isWanted = namespace.map { dataset?.publishes(to: $0) ?? false } ?? false
        let wanted = isWanted ? dataset.map { $0.publishedClaimName } : nil
        // What was published before and should not be there any more, also under an earlier name.
        for claimKey in tables.claims(in: name).sorted() {
            guard let claim = tables.claims[claimKey], isPublished(claim, by: key), !claim.metadata.isBeingDeleted
            else {
                continue
            }
            let isSame = claim.metadata.labels?[Names.datasetUID] == dataset?.metadata.uid
            if claimKey.name != wanted || !isSame { decisions.append(.delete(claim)) }
        }
        guard let dataset, let wanted, let namespace, !namespace.isTerminating, !dataset.metadata.isBeingDeleted else {
            return decisions
        }
        if let claim = tables.claims[ObjectKey(namespace: name, name: wanted)] {
            if !isPublished(claim, by: key) { decisions.append(.conflict) }
        } else {
            decisions.append(.create(makeClaim(dataset, wanted, name)))
        }
        return decisions
    }

    /// What keeps a Dataset's claims from where they should be, for its condition Published. `refused`: namespaces where
    /// the API server took no claim, and what it said.
    static func problem(_ dataset: Dataset, refused: [String: String], _ tables: Tables) -> Refusal? {
        guard let publish = dataset.spec.publish else { return nil }
        let className = publish.storageClassName ?? defaultClass
        let parameters = tables.classes[className].flatMap { $0.provisioner == tables.driver ? $0.parameters : nil }
        guard parameters?["datasetAnnotation"] == "true" || parameters?["dataset"] == dataset.key.description else {
            return Refusal(
                "ClassMissing",
                "spec.publish.storageClassName: there is no StorageClass \(className) of \(tables.driver) with the "
                    + "parameter datasetAnnotation: \"true\"; make it or name another one.")
        }
        let taken = conflicts(dataset, tables)
        if !taken.isEmpty {
            return Refusal(
                "NameTaken",
                "A claim named \(dataset.publishedClaimName) that isn't ours is in: \(some(of: taken)). "
                    + "Set spec.publish.claimName to another name or remove that claim.")
        }
        guard let first = refused.min(by: { $0.key < $1.key }) else { return nil }
        return Refusal(
            "Refused",
            "The API server takes no claim in: \(some(of: Set(refused.keys))). In \(first.key) it says: \(first.value). "
                + "A quota or limit may be what spec.publish.capacity exceeds.")
    }

    private static func some(of names: Set<String>) -> String {
        let names = names.sorted()
        return names.prefix(5).joined(separator: ", ") + (names.count > 5 ? " and \(names.count - 5) more" : "")
    }

    /// Namespaces where somebody's own claim has the name.
    private static func conflicts(_ dataset: Dataset, _ tables: Tables) -> Set<String> {
        var names: Set<String> = []
        for namespace in tables.namespaces.values where dataset.publishes(to: namespace) && !namespace.isTerminating {
            let key = ObjectKey(namespace: namespace.key.name, name: dataset.publishedClaimName)
            if let claim = tables.claims[key], !isPublished(claim, by: dataset.key) { names.insert(namespace.key.name) }
        }
        return names
    }

    /// Made here, for this Dataset, in this place. A person's copy of the manifest elsewhere isn't.
    static func isPublished(_ claim: PersistentVolumeClaim, by dataset: ObjectKey) -> Bool {
        claim.metadata.labels?[Names.managedBy] == Names.controller
            && claim.metadata.annotations?[Names.publishedAs] == claim.key.description
            && claim.metadata.annotations?[Names.dataset] == dataset.description
    }

    /// The Dataset that published a claim, if one did.
    static func publisher(of claim: PersistentVolumeClaim) -> ObjectKey? {
        guard let text = claim.metadata.annotations?[Names.dataset],
            let key = ObjectKey(reference: text, defaultNamespace: nil), isPublished(claim, by: key)
        else { return nil }
        return key
    }

    private static func makeClaim(_ dataset: Dataset, _ name: String, _ namespace: String) -> PersistentVolumeClaim {
        var spec = PersistentVolumeClaim.Spec()
        spec.accessModes = ["ReadOnlyMany"]
        spec.storageClassName = dataset.spec.publish?.storageClassName ?? defaultClass
        spec.resources = PersistentVolumeClaim.Resources(
            requests: ["storage": dataset.spec.publish?.capacity ?? defaultCapacity])
        var labels = [Names.managedBy: Names.controller]
        labels[Names.datasetUID] = dataset.metadata.uid
        return PersistentVolumeClaim(
            metadata: ObjectMeta(
                name: name, namespace: namespace, labels: labels,
                annotations: [
                    Names.dataset: dataset.key.description, Names.publishedAs: "\(namespace)/\(name)",
                ]), spec: spec)
    }
}
