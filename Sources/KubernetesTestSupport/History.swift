import Kubernetes

/// One change of an object, as a watch would tell it.
public struct HistoryEvent: Sendable {
    public var revision: Int
    public var resource: Resource
    public var object: JSON
    public var isDeletion: Bool
}

extension APIServer {
    /// What happened to a kind after a revision, oldest first, at most `count`: for tests that deliver events by hand.
    public func history(_ resource: Resource, after revision: Int, count: Int = .max) -> [HistoryEvent] {
        state.withLock { state in
            let table = ServerState.table(resource)
            // The log is in order of revisions.
            var low = 0
            var high = state.log.count
            while low < high {
                let middle = (low + high) / 2
                if state.log[middle].revision <= revision { low = middle + 1 } else { high = middle }
            }
            return state.log[low...].lazy.filter { $0.table == table }.prefix(count).compactMap { change in
                guard let object = change.new ?? change.old else { return nil }
                return HistoryEvent(
                    revision: change.revision, resource: resource, object: object, isDeletion: change.new == nil)
            }
        }
    }

    public var revision: Int { state.withLock { $0.revision } }

    /// How many decisions the built-in controllers still have to make.
    public var pendingSteps: Int { state.withLock { $0.cluster.pending.count } }
}
