import Kubernetes
import Threads

/// One open watch. `deliver` is called under the server's lock and must neither block nor call back.
final class Watcher: @unchecked Sendable {
    var id = 0
    let resource: Resource
    let table: String
    let namespace: String?
    let selector: Selector
    let wantsBookmarks: Bool
    let wantsInitialEvents: Bool
    let deadline: Instant
    let deliver: @Sendable ([UInt8]) -> Void
    let end: @Sendable () -> Void

    init(
        resource: Resource, namespace: String?, selector: Selector, wantsBookmarks: Bool, wantsInitialEvents: Bool,
        deadline: Instant, deliver: @escaping @Sendable ([UInt8]) -> Void, end: @escaping @Sendable () -> Void
    ) {
        self.resource = resource
        table = ServerState.table(resource)
        self.namespace = namespace
        self.selector = selector
        self.wantsBookmarks = wantsBookmarks
        self.wantsInitialEvents = wantsInitialEvents
        self.deadline = deadline
        self.deliver = deliver
        self.end = end
    }

    func matches(_ object: JSON) -> Bool {
        (namespace == nil || object.at("metadata", "namespace")?.string == namespace) && selector.matches(object)
    }

    /// The event that this watch sees of a change: an object that starts or stops matching is ADDED or DELETED.
    func line(for change: ServerState.Change) -> [UInt8]? {
        guard let new = change.new else {
            guard let old = change.old, matches(old) else { return nil }
            return Self.line("DELETED", old, resource)
        }
        let did = change.old.map(matches) ?? false
        let does = matches(new)
        return switch (did, does) {
        case (false, true): Self.line("ADDED", new, resource)
        case (true, true): Self.line("MODIFIED", new, resource)
        case (true, false): Self.line("DELETED", new, resource)
        case (false, false): nil
        }
    }

    static func line(_ type: String, _ object: JSON, _ resource: Resource) -> [UInt8] {
        var object = object
        object["kind"] = .string(resource.kind)
        object["apiVersion"] = .string(resource.apiVersion)
        return (["type": .string(type), "object": object] as JSON).bytes + [0x0a]
    }

    func bookmark(_ revision: Int, isEndOfInitial: Bool = false) -> [UInt8] {
        var object: JSON = ["metadata": ["resourceVersion": .string(String(revision))]]
        if isEndOfInitial { object.set("metadata", "annotations", to: ["k8s.io/initial-events-end": "true"]) }
        return Self.line("BOOKMARK", object, resource)
    }

    static func error(_ failure: Failure) -> [UInt8] {
        let status = (try? JSON(parsing: failure.response.body)) ?? .null
        return (["type": "ERROR", "object": status] as JSON).bytes + [0x0a]
    }
}
