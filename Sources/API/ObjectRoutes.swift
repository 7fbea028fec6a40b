import Controller
import Imports
import Kubernetes

/// Custom resources of ours, as they are: list, get, create, delete. What a spec may hold is for the CRD to say.
struct ObjectRoutes: Routes {
    let objects: RawObjects
    let authorizer: Authorizer
    let addresses: AddressPolicy
    let resource: Resource
    /// As in `listDatasets`, and as the end of the path.
    let singular: String
    let plural: String

    static func datasets(_ client: Client, _ authorizer: Authorizer, _ addresses: AddressPolicy) -> ObjectRoutes {
        ObjectRoutes(
            objects: RawObjects(client: client), authorizer: authorizer, addresses: addresses,
            resource: Dataset.resource, singular: "Dataset", plural: "datasets")
    }

    static func imports(_ client: Client, _ authorizer: Authorizer, _ addresses: AddressPolicy) -> ObjectRoutes {
        ObjectRoutes(
            objects: RawObjects(client: client), authorizer: authorizer, addresses: addresses,
            resource: DatasetImport.resource, singular: "Import", plural: "imports")
    }

    var endpoints: [Endpoint] {
        let collection = "/v1/namespaces/{namespace}/\(plural)"
        let object = Schema.named("Object")
        return [
            Endpoint(
                method: .get, path: collection, id: "list\(singular)s",
                summary: "The \(resource.kind)s of a namespace.",
                responses: [.init(200, "In the order of their names.", .named("ObjectList"))], handle: list),
            Endpoint(
                method: .post, path: collection, id: "create\(singular)", summary: "Creates a \(resource.kind).",
                body: .named("ObjectOrder"), responses: [.init(201, "As it was stored.", object)], handle: create),
            Endpoint(
                method: .get, path: collection + "/{name}", id: "get\(singular)",
                summary: "A \(resource.kind) with its status.", responses: [.init(200, "As it is.", object)],
                handle: get),
            Endpoint(
                method: .delete, path: collection + "/{name}", id: "delete\(singular)",
                summary: "Deletes a \(resource.kind). Objects in the store stay.",
                responses: [.init(204, "It goes.")], handle: delete),
        ]
    }

    private func require(_ call: Call, _ verb: String, _ key: ObjectKey) async throws(Problem) {
        try await authorizer.require(
            call.caller, verb, resource, in: key.namespace, name: key.name.isEmpty ? nil : key.name)
    }

    @Sendable private func list(_ call: Call) async throws(Problem) -> Answer {
        let key = ObjectKey(namespace: try call.name("namespace"), name: "")
        try await require(call, "list", key)
        return Answer(body: ["items": .array(try await objects.list(resource, in: key.namespace))])
    }

    @Sendable private func get(_ call: Call) async throws(Problem) -> Answer {
        let key = try ClaimRoutes.key(call)
        try await require(call, "get", key)
        return Answer(body: try await objects.get(resource, key))
    }

    @Sendable private func delete(_ call: Call) async throws(Problem) -> Answer {
        let key = try ClaimRoutes.key(call)
        try await require(call, "delete", key)
        try await objects.delete(resource, key)
        return Answer(status: 204)
    }

    @Sendable private func create(_ call: Call) async throws(Problem) -> Answer {
        let fields = try Fields(call.body)
        try fields.allow("name", "spec", "labels", "annotations")
        let key = ObjectKey(namespace: try call.name("namespace"), name: try fields.objectName("name"))
        guard let spec = fields.json("spec"), spec.object != nil else { throw .badField("spec must be an object") }
        try await require(call, "create", ObjectKey(namespace: key.namespace, name: ""))
        try await checkAddresses(in: spec)
        var metadata: JSON = ["name": .string(key.name), "namespace": .string(key.namespace)]
        for name in ["labels", "annotations"] {
            guard let values = fields.json(name) else { continue }
            guard values.object?.values.allSatisfy({ $0.string != nil }) == true else {
                throw .badField("\(name) must be an object of strings")
            }
            metadata[name] = values
        }
        let object: JSON = [
            "apiVersion": .string(resource.apiVersion), "kind": .string(resource.kind), "metadata": metadata,
            "spec": spec,
        ]
        let made = try await objects.create(resource, key, object)
        let place = "/v1/namespaces/\(key.namespace)/\(plural)/\(key.name)"
        return Answer(status: 201, body: made, headers: [(.location, place)])
    }

    /// All URLs of a spec, wherever they stand.
    private func checkAddresses(in spec: JSON) async throws(Problem) {
        let urls = spec.urls()
        guard urls.count <= 1000 else { throw .badField("spec has more than 1000 URLs") }
        var checked: Set<String> = []
        for (field, url) in urls where checked.insert(AddressPolicy.host(of: url) ?? url).inserted {
            do throws(Refusal) { try await addresses.check(url: url, field: "spec.\(field)") } catch {
                throw .refused(error)
            }
        }
    }
}

extension JSON {
    /// Paths of the strings that are URLs, in a stable order.
    fileprivate func urls(_ path: String = "") -> [(field: String, url: String)] {
        switch self {
        case .string(let text):
            let lower = text.lowercased()
            return lower.hasPrefix("http://") || lower.hasPrefix("https://") ? [(path, text)] : []
        case .array(let values): return values.enumerated().flatMap { $1.urls("\(path)[\($0)]") }
        case .object(let members):
            return members.sorted { $0.key < $1.key }.flatMap { $1.urls(path.isEmpty ? $0 : "\(path).\($0)") }
        default: return []
        }
    }
}
