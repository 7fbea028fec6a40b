import Kubernetes
import Threads

/// A request taken apart.
struct Call {
    struct Route {
        var group: String
        var version: String
        var plural: String
        var namespace: String?
        var name: String?
        var subresource: String?
    }

    var method: String
    var path: String
    var query: [String: String] = [:]
    var contentType: String
    var body: [UInt8]
    /// Nil: not a resource's path.
    var route: Route?

    init(_ request: APIRequest) throws {
        method = request.method
        body = request.body
        contentType = request.headers.first { $0.name.lowercased() == "content-type" }?.value ?? "application/json"
        let halves = request.target.split(separator: "?", maxSplits: 1).map(String.init)
        path = halves.first ?? "/"
        for pair in (halves.count > 1 ? halves[1] : "").split(separator: "&") {
            let sides = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            query[Self.decoded(sides[0])] = sides.count > 1 ? Self.decoded(sides[1]) : ""
        }
        route = Self.route(path.split(separator: "/").map { Self.decoded(String($0)) })
    }

    private static func route(_ parts: [String]) -> Route? {
        var rest = parts[...]
        var route = Route(group: "", version: "", plural: "")
        switch rest.popFirst() {
        case "api": break
        case "apis":
            guard let group = rest.popFirst() else { return nil }
            route.group = group
        default: return nil
        }
        guard let version = rest.popFirst() else { return nil }
        route.version = version
        // /namespaces/NAME/PLURAL is a namespace's content, /namespaces/NAME the namespace itself.
        if rest.first == "namespaces", rest.count >= 3, !["status", "finalize"].contains(rest[rest.startIndex + 2]) {
            rest.removeFirst()
            route.namespace = rest.popFirst()
        }
        guard let plural = rest.popFirst() else { return nil }
        route.plural = plural
        route.name = rest.popFirst()
        route.subresource = rest.popFirst()
        return rest.isEmpty ? route : nil
    }

    static func decoded(_ text: String) -> String {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "%"), rest.count >= 2,
                let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
            {
                bytes.append(value)
                rest = rest.dropFirst(2)
            } else {
                bytes.append(byte == UInt8(ascii: "+") ? 0x20 : byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    var isWatch: Bool { method == "GET" && route?.name == nil && ["1", "true"].contains(query["watch"] ?? "") }

    /// The verb as RBAC calls it.
    var verb: String {
        switch method {
        case "GET": isWatch ? "watch" : route?.name == nil ? "list" : "get"
        case "POST": "create"
        case "PUT": "update"
        case "PATCH": "patch"
        case "DELETE": "delete"
        default: method
        }
    }

    func object() throws -> JSON {
        let json: JSON
        do { json = try JSON(parsing: body) } catch {
            throw Failure.badRequest("the object provided is unrecognized: \(error)")
        }
        guard json.object != nil else { throw Failure.badRequest("the body isn't an object") }
        return json
    }

    func watcher(
        _ resource: Resource, _ namespace: String?, _ deliver: @escaping @Sendable ([UInt8]) -> Void,
        _ end: @escaping @Sendable () -> Void
    ) throws -> Watcher {
        let seconds = Int(query["timeoutSeconds"] ?? "") ?? 1800
        return Watcher(
            resource: resource, namespace: namespace,
            selector: try Selector(labelSelector: query["labelSelector"], fieldSelector: query["fieldSelector"]),
            wantsBookmarks: query["allowWatchBookmarks"] == "true" || query["allowWatchBookmarks"] == "1",
            wantsInitialEvents: query["sendInitialEvents"] == "true",
            deadline: Instant.now.advanced(byMs: seconds * 1000), deliver: deliver, end: end)
    }
}
