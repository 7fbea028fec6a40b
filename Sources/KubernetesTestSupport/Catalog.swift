import Kubernetes

/// The kinds that the stand-in serves: built-in ones, and those that CRDs add.
struct Catalog {
    struct Entry {
        var resource: Resource
        var hasStatus = true
        /// Whether spec changes count in metadata.generation.
        var hasGeneration = false
        /// A custom resource's schema.
        var schema: JSON?
    }

    private var entries: [String: Entry] = [:]

    init() {
        func add(_ group: String, _ plural: String, _ kind: String, _ isNamespaced: Bool = true, version: String = "v1")
        {
            let resource = Resource(
                group: group, version: version, plural: plural, kind: kind, isNamespaced: isNamespaced)
            entries["\(group)/\(version)/\(plural)"] = Entry(resource: resource)
        }
        add("", "namespaces", "Namespace", false)
        add("", "nodes", "Node", false)
        add("", "persistentvolumes", "PersistentVolume", false)
        for (plural, kind) in [
            ("persistentvolumeclaims", "PersistentVolumeClaim"), ("secrets", "Secret"), ("configmaps", "ConfigMap"),
            ("events", "Event"), ("pods", "Pod"), ("services", "Service"), ("serviceaccounts", "ServiceAccount"),
        ] { add("", plural, kind) }
        add("coordination.k8s.io", "leases", "Lease")
        add("storage.k8s.io", "storageclasses", "StorageClass", false)
        add("storage.k8s.io", "csidrivers", "CSIDriver", false)
        add("storage.k8s.io", "csinodes", "CSINode", false)
        add("storage.k8s.io", "volumeattachments", "VolumeAttachment", false)
        add("batch", "jobs", "Job")
        add("batch", "cronjobs", "CronJob")
        add("apps", "daemonsets", "DaemonSet")
        add("apps", "deployments", "Deployment")
        add("apiextensions.k8s.io", "customresourcedefinitions", "CustomResourceDefinition", false)
        add("authentication.k8s.io", "tokenreviews", "TokenReview", false)
        add("authorization.k8s.io", "subjectaccessreviews", "SubjectAccessReview", false)
    }

    subscript(group: String, version: String, plural: String) -> Entry? { entries["\(group)/\(version)/\(plural)"] }

    var all: [Entry] { entries.keys.sorted().map { entries[$0]! } }

    /// Adds or replaces what a CRD defines.
    mutating func define(_ crd: JSON) {
        guard let group = crd.at("spec", "group")?.string, let names = crd.at("spec", "names"),
            let plural = names["plural"]?.string, let kind = names["kind"]?.string
        else { return }
        for version in crd.at("spec", "versions")?.array ?? [] where version["served"]?.bool == true {
            let resource = Resource(
                group: group, version: version["name"]?.string ?? "v1", plural: plural, kind: kind,
                isNamespaced: crd.at("spec", "scope")?.string == "Namespaced")
            entries["\(group)/\(resource.version)/\(plural)"] = Entry(
                resource: resource, hasStatus: version.at("subresources", "status") != nil, hasGeneration: true,
                schema: version.at("schema", "openAPIV3Schema"))
        }
    }

    mutating func undefine(_ crd: JSON) {
        guard let group = crd.at("spec", "group")?.string, let plural = crd.at("spec", "names", "plural")?.string
        else { return }
        entries = entries.filter { $0.value.resource.group != group || $0.value.resource.plural != plural }
    }
}
