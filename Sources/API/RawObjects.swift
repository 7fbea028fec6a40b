import Controller
import Kubernetes

/// Objects as the API server writes them, with fields that nobody here knows.
struct RawObjects: Sendable {
    let client: Client

    func list(_ resource: Resource, in namespace: String) async throws(Problem) -> [JSON] {
        var items: [JSON] = []
        var target = resource.path(namespace: namespace) + "?limit=500"
        while true {
            let page = try await send("GET", target)
            items += (page["items"]?.array ?? []).map { item in
                var item = item
                item["apiVersion"] = .string(resource.apiVersion)
                item["kind"] = .string(resource.kind)
                return Self.cleaned(item)
            }
            guard let token = page.at("metadata", "continue")?.string, !token.isEmpty else { return items }
            target = resource.path(namespace: namespace) + "?limit=500&continue=\(percentEncoded(token))"
        }
    }

    func get(_ resource: Resource, _ key: ObjectKey) async throws(Problem) -> JSON {
        Self.cleaned(try await send("GET", resource.path(namespace: key.namespace, name: key.name)))
    }

    func create(_ resource: Resource, _ key: ObjectKey, _ object: JSON) async throws(Problem) -> JSON {
        let target = resource.path(namespace: key.namespace) + "?fieldManager=\(Names.controller)"
        return Self.cleaned(try await send("POST", target, object))
    }

    func delete(_ resource: Resource, _ key: ObjectKey) async throws(Problem) {
        _ = try await send("DELETE", resource.path(namespace: key.namespace, name: key.name))
    }

    /// Who manages which field is of no use to a caller, and long.
    private static func cleaned(_ object: JSON) -> JSON {
        var object = object
        object.set("metadata", "managedFields", to: nil)
        return object
    }

    private func send(_ method: String, _ target: String, _ body: JSON? = nil) async throws(Problem) -> JSON {
        var request = APIRequest(method: method, target: target, body: body?.bytes ?? [])
        request.headers = [("Accept", "application/json")]
        if body != nil { request.headers.append(("Content-Type", "application/json")) }
        let answer = try await asking { [request] () async throws(APIError) in
            let response = try await client.transport.send(request)
            guard (200..<300).contains(response.status) else {
                throw APIError(status: response.status, headers: response.headers, body: response.body)
            }
            return response.body
        }
        do throws(JSONError) { return try JSON(parsing: answer) } catch {
            throw .kubernetes(.badAnswer("the answer can't be understood: \(error)"))
        }
    }
}
