import FoundationEssentials
import PrometheusMetrics

/// The API as typed calls. Nothing is retried here: callers are level-based and come again by their work queue.
/// Every call throws `APIError`.
public struct Client: Sendable {
    public let transport: any Transport
    /// Named in managedFields as the one who changed things.
    public let fieldManager: String
    private let calls: CallMetrics?

    public init(transport: any Transport, fieldManager: String, metrics: Registry? = nil) {
        self.transport = transport
        self.fieldManager = fieldManager
        calls = metrics.map(CallMetrics.init)
    }

    public func get<T: KubernetesObject>(
        _ type: T.Type, _ name: String, namespace: String? = nil
    ) async throws(APIError) -> T {
        try await object("get", "GET", T.self, name, namespace, query: [])
    }

    /// Creates and answers what the server made of it.
    @discardableResult
    public func create<T: KubernetesObject>(_ object: T) async throws(APIError) -> T {
        try await self.object(
            "create", "POST", T.self, nil, object.metadata.namespace, query: [("fieldManager", fieldManager)],
            body: try encoded(object))
    }

    /// Replaces the whole object; with its resourceVersion set, only that version (`isConflict` otherwise). Only for
    /// objects that are wholly ours (Leases), as fields unknown here are lost.
    @discardableResult
    public func replace<T: KubernetesObject>(_ object: T) async throws(APIError) -> T {
        try await self.object(
            "update", "PUT", T.self, object.metadata.name, object.metadata.namespace,
            query: [("fieldManager", fieldManager)], body: try encoded(object))
    }

    /// RFC 7386. With `metadata.resourceVersion` in the patch it fails if the object was changed meanwhile.
    @discardableResult
    public func patch<T: KubernetesObject>(
        _ type: T.Type, _ name: String, namespace: String? = nil, merge patch: JSON, subresource: String? = nil
    ) async throws(APIError) -> T {
        try await object(
            "patch", "PATCH", T.self, name, namespace, query: [("fieldManager", fieldManager)],
            contentType: "application/merge-patch+json", body: patch.bytes, subresource: subresource)
    }

    /// Server-side apply: these fields are ours from now on, and what we applied before and is not here goes.
    @discardableResult
    public func apply<T: KubernetesObject>(
        _ type: T.Type, _ name: String, namespace: String? = nil, fields: JSON, force: Bool = true,
        subresource: String? = nil
    ) async throws(APIError) -> T {
        var fields = fields
        fields["apiVersion"] = .string(T.resource.apiVersion)
        fields["kind"] = .string(T.resource.kind)
        fields.set("metadata", "name", to: .string(name))
        return try await object(
            "apply", "PATCH", T.self, name, namespace,
            query: [("fieldManager", fieldManager), ("force", force ? "true" : "false")],
            contentType: "application/apply-patch+yaml", body: fields.bytes, subresource: subresource)
    }

    /// Deletes; with `uid`, only that very object and not one that took its name (`isConflict` otherwise). `propagation`:
    /// what becomes of those it owns, Foreground (they go first), Background or Orphan; nil: the kind's own default, which
    /// is Orphan for Jobs.
    public func delete<T: KubernetesObject>(
        _ type: T.Type, _ name: String, namespace: String? = nil, uid: String? = nil, propagation: String? = nil
    ) async throws(APIError) {
        var body = JSON.object(["apiVersion": "v1", "kind": "DeleteOptions"])
        if let uid { body["preconditions"] = ["uid": .string(uid)] }
        body["propagationPolicy"] = propagation.map { .string($0) }
        _ = try await call(
            "delete", "DELETE", T.resource, name, namespace, query: [], contentType: "application/json",
            body: body.bytes, subresource: nil)
    }

    public struct List<T: KubernetesObject>: Sendable {
        public var items: [T]
        /// Where a watch goes on.
        public var resourceVersion: String
    }

    /// All objects, read in pages of 500. If the continuation expires halfway, the error says so (`isExpired`).
    public func list<T: KubernetesObject>(
        _ type: T.Type, namespace: String? = nil, labelSelector: String? = nil, pageSize: Int = 500
    ) async throws(APIError) -> List<T> {
        var items: [T] = []
        var token: String?
        while true {
            var query = [("limit", String(pageSize))]
            if let labelSelector { query.append(("labelSelector", labelSelector)) }
            if let token { query.append(("continue", token)) }
            let response = try await call(
                "list", "GET", T.resource, nil, namespace, query: query, contentType: nil, body: [], subresource: nil)
            let page: ListPage<T> = try decoded(response.body, "list \(T.resource.plural)")
            items += page.items ?? []
            guard let next = page.metadata.continue, !next.isEmpty else {
                return List(items: items, resourceVersion: page.metadata.resourceVersion ?? "")
            }
            token = next
        }
    }

    private struct ListPage<T: KubernetesObject>: Decodable {
        struct Metadata: Decodable {
            var resourceVersion: String?
            var `continue`: String?
        }
        var metadata: Metadata
        var items: [T]?
    }

    private func object<T: KubernetesObject>(
        _ verb: String, _ method: String, _ type: T.Type, _ name: String?, _ namespace: String?,
        query: [(String, String)], contentType: String? = "application/json", body: [UInt8] = [],
        subresource: String? = nil
    ) async throws(APIError) -> T {
        let response = try await call(
            verb, method, T.resource, name, namespace, query: query, contentType: body.isEmpty ? nil : contentType,
            body: body, subresource: subresource)
        return try decoded(response.body, "\(verb) \(T.resource.plural) \(name ?? "")")
    }

    private func call(
        _ verb: String, _ method: String, _ resource: Resource, _ name: String?, _ namespace: String?,
        query: [(String, String)], contentType: String?, body: [UInt8], subresource: String?
    ) async throws(APIError) -> APIResponse {
        var target = resource.path(namespace: namespace, name: name, subresource: subresource)
        if !query.isEmpty { target += "?" + query.map { "\($0.0)=\(percentEncoded($0.1))" }.joined(separator: "&") }
        var request = APIRequest(method: method, target: target, body: body)
        request.headers = [("Accept", "application/json")]
        if let contentType { request.headers.append(("Content-Type", contentType)) }
        do throws(APIError) {
            let response = try await transport.send(request)
            calls?.count(verb, resource.plural, response.status)
            guard (200..<300).contains(response.status) else {
                throw APIError(status: response.status, headers: response.headers, body: response.body)
            }
            return response
        } catch {
            if error.code == 0 { calls?.count(verb, resource.plural, 0) }
            var error = error
            let place = namespace.map { " in \($0)" } ?? ""
            error.operation = "\(verb) \(resource.plural)\(name.map { " \($0)" } ?? "")\(place)"
            throw error
        }
    }

    func countWatch(_ resource: Resource, _ status: Int) { calls?.count("watch", resource.plural, status) }

    private func encoded<T: KubernetesObject>(_ object: T) throws(APIError) -> [UInt8] {
        do {
            let encoder = JSONEncoder()
            encoder.outputFormatting = .withoutEscapingSlashes
            var text = [UInt8](try encoder.encode(object))
            // Kind and version aren't fields of the structs.
            text.removeFirst()
            let head = "{\"apiVersion\":\"\(T.resource.apiVersion)\",\"kind\":\"\(T.resource.kind)\","
            return Array(head.utf8) + text
        } catch {
            throw .badAnswer("cannot encode \(T.resource.kind): \(error)")
        }
    }
}

/// Decodes, or says which field was wrong.
func decoded<T: Decodable>(_ bytes: [UInt8], _ what: String) throws(APIError) -> T {
    do {
        return try JSONDecoder().decode(T.self, from: Data(bytes))
    } catch {
        throw .badAnswer("\(what): the answer can't be understood: \(error)")
    }
}

private struct CallMetrics: Sendable {
    let registry: Registry
    func count(_ verb: String, _ resource: String, _ status: Int) {
        registry.counter(
            "millrace_kubernetes_requests_total", "Requests to the API server; code 0: no answer.",
            ["verb": verb, "resource": resource, "code": String(status)]
        ).add()
    }
}
