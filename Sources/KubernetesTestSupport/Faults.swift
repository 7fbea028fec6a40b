import Kubernetes
import Threads

/// What shall go wrong with matching calls.
public struct Fault: Sendable {
    public enum Effect: Sendable {
        /// Answer this instead of doing it.
        case status(Int, reason: String)
        /// The connection breaks before anything is done.
        case lostRequest
        /// It is done, but the answer is lost.
        case lostAnswer
        case delay(ms: Int)
    }

    /// As RBAC calls it; nil: any.
    public var verb: String?
    /// The plural; nil: any.
    public var resource: String?
    public var effect: Effect
    /// How many calls it hits.
    public var count: Int

    public init(verb: String? = nil, resource: String? = nil, _ effect: Effect, count: Int = 1) {
        self.verb = verb
        self.resource = resource
        self.effect = effect
        self.count = count
    }
}

struct FaultTable {
    private var faults: [Fault] = []

    mutating func add(_ fault: Fault) { faults.append(fault) }
    mutating func clear() { faults = [] }

    mutating func hit(verb: String, resource: String) -> Fault.Effect? {
        guard
            let i = faults.firstIndex(where: {
                ($0.verb == nil || $0.verb == verb) && ($0.resource == nil || $0.resource == resource)
            })
        else { return nil }
        let effect = faults[i].effect
        faults[i].count -= 1
        if faults[i].count <= 0 { faults.remove(at: i) }
        return effect
    }
}

/// How often what was called.
struct CallLog {
    var counts: [String: Int] = [:]
    var newest: [String] = []

    mutating func add(_ verb: String, _ resource: String, _ path: String) {
        counts["\(verb) \(resource)", default: 0] += 1
        newest.append("\(verb) \(path)")
        if newest.count > 2000 { newest.removeFirst(1000) }
    }
}

extension APIServer {
    public func inject(_ fault: Fault) { faults.withLock { $0.add(fault) } }
    public func clearFaults() { faults.withLock { $0.clear() } }

    /// The next events are lost for everyone who watches.
    public func dropEvents(_ count: Int) { state.withLock { $0.watchFaults.drop += count } }
    /// The next events come twice.
    public func duplicateEvents(_ count: Int) { state.withLock { $0.watchFaults.duplicate += count } }
    /// Ends all watches without a bookmark.
    public func breakWatches() {
        state.withLock { state in
            for watcher in state.watchers.values { watcher.end() }
            state.watchers = [:]
        }
    }
    /// Forgets the history: watches from older versions get 410 Gone.
    public func compact() { state.withLock { $0.compact() } }
    public func sendBookmarks() {
        state.withLock { state in
            for watcher in state.watchers.values where watcher.wantsBookmarks {
                watcher.deliver(watcher.bookmark(state.revision))
            }
        }
    }

    /// Calls by "verb plural", as "create persistentvolumes".
    public var callCounts: [String: Int] { calls.withLock { $0.counts } }
    public var newestCalls: [String] { calls.withLock { $0.newest } }
    public func resetCallCounts() { calls.withLock { $0 = CallLog() } }

    /// Only these bearer tokens are let in.
    public func require(tokens new: Set<String>) { tokens.withLock { $0 = new } }

    /// One decision of the built-in controllers, where they don't run by themselves. `choice` picks one of those that
    /// wait. False: nothing to do.
    public func step(choice: Int = 0) -> Bool {
        state.withLock { state in
            let count = state.cluster.pending.count
            return count > 0 && state.step(choice: choice % count)
        }
    }

    /// All objects of a kind.
    public func objects(_ resource: Resource) -> [JSON] {
        state.withLock { ($0.tables[ServerState.table(resource)] ?? [:]).sorted { $0.key < $1.key }.map(\.value) }
    }

    public func object(_ resource: Resource, _ name: String, namespace: String? = nil) -> JSON? {
        state.withLock { $0[resource, ObjectKey(namespace: namespace, name: name)] }
    }

    /// Creates from JSON; stops the test where that is refused.
    @discardableResult
    public func create(_ resource: Resource, _ object: JSON, namespace: String? = nil) -> JSON {
        let response = perform(
            APIRequest(method: "POST", target: resource.path(namespace: namespace), body: object.bytes))
        let text = String(decoding: response.body, as: UTF8.self)
        precondition(response.status == 201, "the stand-in refused \(object): \(text)")
        return (try? JSON(parsing: response.body)) ?? .null
    }

    @discardableResult
    public func patch(_ resource: Resource, _ name: String, namespace: String? = nil, _ merge: JSON) -> APIResponse {
        var request = APIRequest(
            method: "PATCH", target: resource.path(namespace: namespace, name: name), body: merge.bytes)
        request.headers = [("content-type", "application/merge-patch+json")]
        return perform(request)
    }

    @discardableResult
    public func delete(_ resource: Resource, _ name: String, namespace: String? = nil) -> APIResponse {
        perform(APIRequest(method: "DELETE", target: resource.path(namespace: namespace, name: name)))
    }

    /// What a fault says about a request before it is performed, and the count of calls.
    func admit(_ request: APIRequest) -> Fault.Effect? {
        guard let call = try? Call(request) else { return nil }
        let resource = call.route?.plural ?? call.path
        calls.withLock { $0.add(call.verb, resource, call.path) }
        return faults.withLock { $0.hit(verb: call.verb, resource: resource) }
    }

    func refusal(_ request: APIRequest) -> APIResponse? {
        let tokens = tokens.withLock { $0 }
        if tokens.isEmpty { return nil }
        let header = request.headers.first { $0.name.lowercased() == "authorization" }?.value ?? ""
        if header.hasPrefix("Bearer "), tokens.contains(String(header.dropFirst(7))) { return nil }
        return Failure(code: 401, reason: "Unauthorized", message: "Unauthorized").response
    }
}
