import Kubernetes

/// What each verb does to the objects.
extension ServerState {
    mutating func perform(_ call: Call, _ route: Call.Route, _ entry: Catalog.Entry) throws -> APIResponse {
        let resource = entry.resource
        switch (call.method, route.name) {
        case ("GET", nil): return try list(call, route, resource)
        case ("GET", let name?):
            return answer(200, try existing(resource, ObjectKey(namespace: route.namespace, name: name)), resource)
        case ("POST", nil): return try create(call, route, entry)
        case ("PUT", let name?):
            let new = try call.object()
            return try update(ObjectKey(namespace: route.namespace, name: name), entry, route.subresource) { _ in new }
        case ("PATCH", let name?):
            return try patch(call, ObjectKey(namespace: route.namespace, name: name), route, entry)
        case ("DELETE", let name?):
            return try delete(call, ObjectKey(namespace: route.namespace, name: name), resource)
        default:
            throw Failure(
                code: 405, reason: "MethodNotAllowed",
                message: "the server does not allow this method on the requested resource", details: [:])
        }
    }

    func existing(_ resource: Resource, _ key: ObjectKey) throws -> JSON {
        guard let object = self[resource, key] else { throw Failure.notFound(resource, key.name) }
        return object
    }

    func answer(_ status: Int, _ object: JSON, _ resource: Resource) -> APIResponse {
        var object = object
        object["kind"] = .string(resource.kind)
        object["apiVersion"] = .string(resource.apiVersion)
        return APIResponse(status: status, headers: ["content-type": "application/json"], body: object.bytes)
    }

    private func list(_ call: Call, _ route: Call.Route, _ resource: Resource) throws -> APIResponse {
        var version = revision
        var after: ObjectKey?
        if let token = call.query["continue"] {
            let parts = token.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 3, let number = Int(parts[0]) else {
                throw Failure.badRequest("continue key is not valid")
            }
            guard number >= oldest else { throw Failure.expiredList }
            version = number
            after = ObjectKey(namespace: parts[1], name: parts[2])
        } else if call.query["resourceVersionMatch"] == "Exact",
            (Int(call.query["resourceVersion"] ?? "") ?? 0) < oldest
        {
            throw Failure.expiredList
        }
        let selector = try Selector(
            labelSelector: call.query["labelSelector"], fieldSelector: call.query["fieldSelector"])
        let matching = (tables[Self.table(resource)] ?? [:]).filter { key, object in
            (route.namespace == nil || key.namespace == route.namespace) && (after == nil || after! < key)
                && selector.matches(object)
        }.sorted { $0.key < $1.key }
        let limit = Int(call.query["limit"] ?? "") ?? 0
        let page = limit > 0 ? Array(matching.prefix(limit)) : matching
        var metadata: JSON = ["resourceVersion": .string(String(version))]
        if page.count < matching.count, let last = page.last?.key {
            metadata["continue"] = .string("\(version):\(last.namespace):\(last.name)")
            metadata["remainingItemCount"] = .integer(matching.count - page.count)
        }
        let body: JSON = [
            "kind": .string("\(resource.kind)List"), "apiVersion": .string(resource.apiVersion), "metadata": metadata,
            "items": .array(page.map(\.value)),
        ]
        return APIResponse(status: 200, headers: ["content-type": "application/json"], body: body.bytes)
    }

    private mutating func create(_ call: Call, _ route: Call.Route, _ entry: Catalog.Entry) throws -> APIResponse {
        let resource = entry.resource
        var object = try call.object()
        if let kind = object["kind"]?.string, kind != resource.kind {
            throw Failure.badRequest("\(kind) in the body, \(resource.kind) in the URL")
        }
        var name = object.at("metadata", "name")?.string ?? ""
        if name.isEmpty, let prefix = object.at("metadata", "generateName")?.string { name = prefix + suffix() }
        let key = ObjectKey(namespace: resource.isNamespaced ? route.namespace : nil, name: name)
        object["kind"] = nil
        object["apiVersion"] = nil
        object.set("metadata", "name", to: .string(name))
        object.set("metadata", "namespace", to: key.namespace.isEmpty ? nil : .string(key.namespace))
        if resource.isNamespaced {
            let namespaces = Namespace.resource
            guard let namespace = self[namespaces, ObjectKey(namespace: nil, name: key.namespace)] else {
                throw Failure.notFound(namespaces, key.namespace)
            }
            if namespace.at("metadata", "deletionTimestamp") != nil {
                throw Failure.terminating(resource, name, key.namespace)
            }
        }
        // Reviews are answered and not stored.
        if let review = access.review(object, resource.kind) { return answer(201, review, resource) }
        if self[resource, key] != nil { throw Failure.alreadyExists(resource, name) }
        object.set("metadata", "uid", to: .string(newUID()))
        object.set("metadata", "resourceVersion", to: nil)
        object.set("metadata", "creationTimestamp", to: .string(Timestamp.now()))
        object.set("metadata", "deletionTimestamp", to: nil)
        if entry.hasGeneration { object.set("metadata", "generation", to: 1) }
        var warnings: [String: String] = ["content-type": "application/json"]
        if let schema = entry.schema.map(StructuralSchema.init) {
            object["status"] = nil
            let pruned = schema.completed(object)
            for field in object["spec"]?.leaves() ?? [] where !pruned.has(["spec"] + field) {
                warnings["warning"] = "299 - \"unknown field \\\"\((["spec"] + field).joined(separator: "."))\\\"\""
            }
            object = pruned
        }
        object = withDefaults(object, resource)
        try validate(object, old: nil, entry, key)
        let stored = store(resource, key, object)
        if resource.kind == "CustomResourceDefinition" { catalog.define(stored) }
        var response = answer(201, stored, resource)
        response.headers.merge(warnings) { $1 }
        return response
    }

    /// Reads, changes and writes one object under all the rules of an update.
    mutating func update(
        _ key: ObjectKey, _ entry: Catalog.Entry, _ subresource: String?, _ change: (JSON) throws -> JSON
    ) throws -> APIResponse {
        let resource = entry.resource
        let old = try existing(resource, key)
        var new = try change(old)
        new["kind"] = nil
        new["apiVersion"] = nil
        if let wanted = new.at("metadata", "resourceVersion")?.string, !wanted.isEmpty,
            wanted != old.at("metadata", "resourceVersion")?.string
        {
            throw Failure.conflict(resource, key.name)
        }
        if let uid = new.at("metadata", "uid")?.string, uid != old.at("metadata", "uid")?.string {
            throw Failure.conflict(
                resource, key.name,
                "Precondition failed: UID in precondition: \(uid), UID in object meta: "
                    + (old.at("metadata", "uid")?.string ?? ""))
        }
        if subresource == "status" {
            var kept = old
            kept["status"] = new["status"]
            new = kept
        } else if subresource == nil {
            if entry.hasStatus { new["status"] = old["status"] }
            for field in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"] {
                new.set("metadata", field, to: old.at("metadata", field))
            }
            new.set("metadata", "name", to: .string(key.name))
            new.set("metadata", "namespace", to: key.namespace.isEmpty ? nil : .string(key.namespace))
        } else {
            throw Failure.noSuchPath
        }
        if let schema = entry.schema.map(StructuralSchema.init) { new = schema.completed(new) }
        if entry.hasGeneration, new["spec"] != old["spec"] {
            new.set("metadata", "generation", to: .integer((old.at("metadata", "generation")?.integer ?? 1) + 1))
        }
        new.set("metadata", "resourceVersion", to: old.at("metadata", "resourceVersion"))
        try validate(new, old: old, entry, key)
        let stored = store(resource, key, new)
        if resource.kind == "CustomResourceDefinition" { catalog.define(stored) }
        return answer(200, stored, resource)
    }

    private mutating func patch(
        _ call: Call, _ key: ObjectKey, _ route: Call.Route, _ entry: Catalog.Entry
    ) throws -> APIResponse {
        let resource = entry.resource
        switch call.contentType {
        case "application/merge-patch+json", "application/strategic-merge-patch+json":
            let patch = try call.object()
            return try update(key, entry, route.subresource) { $0.merged(with: patch) }
        case "application/json-patch+json":
            guard case .array(let operations)? = try? JSON(parsing: call.body) else {
                throw Failure.badRequest("a JSON patch is a list")
            }
            return try update(key, entry, route.subresource) { try $0.patched(with: operations) }
        case "application/apply-patch+yaml":
            guard let manager = call.query["fieldManager"], !manager.isEmpty else {
                throw Failure.badRequest("fieldManager is required for apply patch")
            }
            var fields = try call.object()
            fields["kind"] = nil
            fields["apiVersion"] = nil
            guard let old = self[resource, key] else {
                var create = call
                create.body = fields.bytes
                let response = try self.create(create, route, entry)
                remember(fields, of: key, resource, by: manager)
                return response
            }
            let uid = old.at("metadata", "uid")?.string ?? ""
            let others = (applied[uid] ?? [:]).filter { $0.key != manager }.values
            let mine = applied[uid]?[manager]
            if call.query["force"] != "true" {
                for leaf in fields.leaves() where others.contains(where: { $0.has(leaf) && $0[leaf] != fields[leaf] }) {
                    throw Failure(
                        code: 409, reason: "Conflict",
                        message: "Apply failed with 1 conflict: .\(leaf.joined(separator: "."))")
                }
            }
            let response = try update(key, entry, route.subresource) { object in
                var object = object
                for leaf in mine?.leaves() ?? [] where !fields.has(leaf) && !others.contains(where: { $0.has(leaf) }) {
                    object.remove(leaf: leaf[...])
                }
                return object.merged(with: fields)
            }
            remember(fields, of: key, resource, by: manager)
            return response
        default:
            throw Failure(
                code: 415, reason: "UnsupportedMediaType", message: "the body of the request was in an unknown format")
        }
    }

    private mutating func remember(_ fields: JSON, of key: ObjectKey, _ resource: Resource, by manager: String) {
        guard let uid = self[resource, key]?.at("metadata", "uid")?.string else { return }
        applied[uid, default: [:]][manager] = fields
    }

    private mutating func delete(_ call: Call, _ key: ObjectKey, _ resource: Resource) throws -> APIResponse {
        let object = try existing(resource, key)
        if !call.body.isEmpty, let preconditions = try call.object()["preconditions"] {
            for field in ["uid", "resourceVersion"] {
                guard let wanted = preconditions[field]?.string else { continue }
                let actual = object.at("metadata", field)?.string ?? ""
                if wanted != actual {
                    throw Failure.conflict(
                        resource, key.name,
                        "Precondition failed: \(field) in precondition: \(wanted), \(field) in object meta: \(actual)")
                }
            }
        }
        return answer(200, remove(resource, key, object), resource)
    }

    /// Marks an object as being deleted, or removes it where nothing holds it.
    @discardableResult
    mutating func remove(_ resource: Resource, _ key: ObjectKey, _ object: JSON) -> JSON {
        var object = object
        if object.at("metadata", "deletionTimestamp") != nil { return object }
        if resource.kind == "CustomResourceDefinition" {
            catalog.undefine(object)
            tables[
                "\(object.at("spec", "group")?.string ?? "")/\(object.at("spec", "names", "plural")?.string ?? "")"] =
                nil
        }
        object.set("metadata", "deletionTimestamp", to: .string(Timestamp.now()))
        if resource.kind == "Namespace" {
            object.set("status", "phase", to: "Terminating")
        } else {
            object.set("metadata", "deletionGracePeriodSeconds", to: 0)
        }
        return store(resource, key, object)
    }
}

extension JSON {
    func has(_ path: [String]) -> Bool { self[path] != nil }

    subscript(path: [String]) -> JSON? {
        var value: JSON? = self
        for name in path { value = value?[name] }
        return value
    }
}
