import Synchronization

@testable import Controller

/// A source that answers what the test says.
final class ScriptedProbe: SourceProbe {
    struct Script {
        var finding = Observation.Finding.reachable
        var exists: Bool? = true
        var count: (objects: Int, bytes: Int)? = (3, 300)
        var asked = 0
        var lastKey: String?
    }
    private let state = Mutex(Script())

    func script(_ change: (inout Script) -> Void) { state.withLock { change(&$0) } }
    var asked: Int { state.withLock { $0.asked } }
    var lastKey: String? { state.withLock { $0.lastKey } }

    func check(_ view: DatasetView, credentials: SourceCredentials?) async -> Observation.Finding {
        state.withLock { state in
            state.asked += 1
            state.lastKey = credentials?.accessKeyID
            return state.finding
        }
    }
    func exists(_ view: DatasetView, credentials: SourceCredentials?) async -> Bool? { state.withLock { $0.exists } }
    func count(_ view: DatasetView, credentials: SourceCredentials?) async -> (objects: Int, bytes: Int)? {
        state.withLock { $0.count }
    }
}
