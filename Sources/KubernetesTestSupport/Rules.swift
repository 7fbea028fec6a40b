import Kubernetes

/// Defaults, finalizers and refusals of the built-in kinds, as far as millrace meets them.
extension ServerState {
    func withDefaults(_ object: JSON, _ resource: Resource) -> JSON {
        var object = object
        func preset(_ path: [String], _ value: JSON) {
            if object[path] == nil { object = object.merged(with: path.reversed().reduce(value) { [$1: $0] }) }
        }
        func hold(_ finalizer: JSON) {
            let finalizers = object.at("metadata", "finalizers")?.array ?? []
            if !finalizers.contains(finalizer) {
                object.set("metadata", "finalizers", to: .array(finalizers + [finalizer]))
            }
        }
        switch resource.kind {
        case "Namespace":
            object.set("metadata", "labels", "kubernetes.io/metadata.name", to: object.at("metadata", "name"))
            object["spec"] = ["finalizers": ["kubernetes"]]
            object["status"] = ["phase": "Active"]
        case "PersistentVolumeClaim":
            preset(["spec", "volumeMode"], "Filesystem")
            if let name = defaultClass { preset(["spec", "storageClassName"], .string(name)) }
            object["status"] = ["phase": "Pending"]
            hold("kubernetes.io/pvc-protection")
        case "PersistentVolume":
            preset(["spec", "volumeMode"], "Filesystem")
            preset(["spec", "persistentVolumeReclaimPolicy"], "Retain")
            object["status"] = ["phase": "Pending", "lastPhaseTransitionTime": .string(Timestamp.now())]
            hold("kubernetes.io/pv-protection")
        case "StorageClass":
            preset(["reclaimPolicy"], "Delete")
            preset(["volumeBindingMode"], "Immediate")
        case "Pod": preset(["status", "phase"], "Pending")
        case "Secret":
            preset(["type"], "Opaque")
            for (key, value) in object["stringData"]?.object ?? [:] {
                object.set("data", key, to: .string(base64(value.string ?? "")))
            }
            object["stringData"] = nil
        case "CustomResourceDefinition":
            if let kind = object.at("spec", "names", "kind")?.string {
                preset(["spec", "names", "listKind"], .string(kind + "List"))
            }
            object["status"] = ["conditions": [["type": "Established", "status": "True"]]]
        default: break
        }
        return object
    }

    /// What a claim without a class gets.
    private var defaultClass: String? {
        (tables["storage.k8s.io/storageclasses"] ?? [:]).first { _, object in
            object.at("metadata", "annotations", "storageclass.kubernetes.io/is-default-class") == "true"
        }?.key.name
    }

    func validate(_ object: JSON, old: JSON?, _ entry: Catalog.Entry, _ key: ObjectKey) throws {
        var causes: [Failure.Cause] = []
        func wrong(_ field: String, _ message: String, _ reason: String = "FieldValueInvalid") {
            causes.append(Failure.Cause(field: field, reason: reason, message: message))
        }
        if key.name.isEmpty {
            wrong("metadata.name", "Required value: name or generateName is required", "FieldValueRequired")
        } else if !Self.isSubdomain(key.name) {
            wrong(
                "metadata.name",
                "Invalid value: \"\(key.name)\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric "
                    + "characters, '-' or '.', and must start and end with an alphanumeric character (e.g. "
                    + "'example.com', regex used for validation is "
                    + "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')")
        }
        for (label, value) in object.at("metadata", "labels")?.object ?? [:] {
            if !Self.isLabelValue(value.string ?? "\n") {
                wrong(
                    "metadata.labels",
                    "Invalid value: \(value): a valid label must be an empty string or consist of "
                        + "alphanumeric characters, '-', '_' or '.' (\(label))")
            }
        }
        switch entry.resource.kind {
        case "PersistentVolumeClaim":
            validateModes(object, "spec", wrong)
            if object.at("spec", "resources", "requests", "storage") == nil {
                wrong("spec.resources[storage]", "Required value", "FieldValueRequired")
            }
            if let old, let claimed = old.at("spec", "volumeName"), claimed != object.at("spec", "volumeName") {
                wrong(
                    "spec", "Forbidden: spec is immutable after creation except resources.requests",
                    "FieldValueForbidden")
            }
        case "PersistentVolume":
            validateModes(object, "spec", wrong)
            if object.at("spec", "capacity")?.object?.isEmpty != false {
                wrong("spec.capacity", "Required value", "FieldValueRequired")
            }
            if object.at("spec", "csi") == nil, object.at("spec", "nfs") == nil, object.at("spec", "hostPath") == nil {
                wrong("spec", "Required value: must specify a volume type", "FieldValueRequired")
            }
            if let handle = object.at("spec", "csi", "volumeHandle"), handle.string?.isEmpty != false {
                wrong("spec.csi.volumeHandle", "Required value", "FieldValueRequired")
            }
            if let old, old.at("spec", "csi") != object.at("spec", "csi") {
                wrong(
                    "spec.persistentvolumesource",
                    "Forbidden: spec.persistentvolumesource is immutable after creation", "FieldValueForbidden")
            }
        case "Event":
            let subject = object.at("involvedObject", "namespace")?.string ?? "default"
            if subject != key.namespace {
                wrong("involvedObject.namespace", "Invalid value: \"\(subject)\": does not match event.namespace")
            }
        default: break
        }
        if let schema = entry.schema { causes += StructuralSchema(root: schema).causes(of: object, old: old) }
        if !causes.isEmpty { throw Failure.invalid(entry.resource, key.name, causes) }
    }

    private func validateModes(_ object: JSON, _ spec: String, _ wrong: (String, String, String) -> Void) {
        let modes = object[spec]?["accessModes"]?.array ?? []
        if modes.isEmpty {
            wrong("spec.accessModes", "Required value: at least 1 access mode is required", "FieldValueRequired")
        }
        let known: [JSON] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"]
        for mode in modes where !known.contains(mode) {
            let names = known.map(\.description).joined(separator: ", ")
            wrong(
                "spec.accessModes", "Unsupported value: \(mode): supported values: \(names)", "FieldValueNotSupported")
        }
    }

    static func isSubdomain(_ name: String) -> Bool {
        guard name.utf8.count <= 253 else { return false }
        return name.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { part in
            guard let first = part.utf8.first, let last = part.utf8.last else { return false }
            func isPlain(_ c: UInt8) -> Bool { (0x61...0x7a).contains(c) || (0x30...0x39).contains(c) }
            return isPlain(first) && isPlain(last) && part.utf8.allSatisfy { isPlain($0) || $0 == 0x2d }
        }
    }

    private static func isLabelValue(_ value: String) -> Bool {
        if value.isEmpty { return true }
        func isPlain(_ c: Character) -> Bool { c.isASCII && (c.isLetter || c.isNumber) }
        return value.count <= 63 && isPlain(value.first!) && isPlain(value.last!)
            && value.allSatisfy { isPlain($0) || "-_.".contains($0) }
    }

    /// Paths that aren't resources.
    func special(_ call: Call) throws -> APIResponse {
        switch call.path {
        case "/healthz", "/readyz", "/livez": return APIResponse(status: 200, body: Array("ok".utf8))
        case "/version":
            let version: JSON = ["major": "1", "minor": "36", "gitVersion": "v1.36.0-embedded"]
            return APIResponse(status: 200, headers: ["content-type": "application/json"], body: version.bytes)
        default: throw Failure.noSuchPath
        }
    }
}

func base64(_ text: String) -> String {
    let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
    let bytes = Array(text.utf8)
    var out = ""
    for start in stride(from: 0, to: bytes.count, by: 3) {
        let group = bytes[start..<min(start + 3, bytes.count)]
        let word = group.reduce(0) { $0 << 8 | Int($1) } << (8 * (3 - group.count))
        for i in 0..<4 { out.append(i <= group.count ? alphabet[(word >> (18 - 6 * i)) & 63] : "=") }
    }
    return out
}
