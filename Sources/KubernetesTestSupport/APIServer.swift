import Glibc
import Kubernetes
import Threads

/// An API server with the manners of a real one, in memory: versions and conflicts, watches with bookmarks and 410,
/// finalizers, status subresources, owner references, generateName, CRDs with schemas, and the controllers that
/// millrace meets (binding of volumes, their protection, namespaces, garbage). It misbehaves on command.
public final class APIServer: Sendable {
    enum Answer {
        case response(APIResponse)
        case watch(Watcher)
    }

    let state: Locked<ServerState>
    let faults = Locked(FaultTable())
    let calls = Locked(CallLog())
    /// Whether the built-in controllers run after every write; else `step()` runs them one decision at a time.
    private let isAutomatic: Bool
    private let isStopped = Locked(false)
    private let ticker = Locked<Thread?>(nil)
    /// Bearer tokens that are let in; empty: everyone is.
    let tokens = Locked<Set<String>>([])

    public init(seed: UInt64 = 1, automatic: Bool = true) {
        state = Locked(ServerState(seed: seed))
        isAutomatic = automatic
        for name in ["default", "kube-system"] {
            let namespace: JSON = ["metadata": ["name": .string(name)]]
            _ = perform(APIRequest(method: "POST", target: "/api/v1/namespaces", body: namespace.bytes))
        }
        ticker.withLock {
            $0 = Thread("kube-tick") { [weak self] in
                while let self, !self.isStopped.withLock({ $0 }) {
                    self.endOldWatches()
                    napMs(50)
                }
            }
        }
    }

    /// Ends all watches and the server's thread. Wait for it before the process ends.
    public func stop() {
        isStopped.withLock { $0 = true }
        breakWatches()
        ticker.withLock { thread in
            defer { thread = nil }
            return thread
        }?.join()
    }

    /// Does what a request asks, without faults.
    public func perform(_ request: APIRequest) -> APIResponse {
        switch answer(request, deliver: { _ in }, end: {}) {
        case .response(let response): response
        case .watch(let watcher):
            {
                state.withLock { $0.watchers[watcher.id] = nil }
                return APIResponse(status: 200)
            }()
        }
    }

    /// Answers a request; if it is a watch, events go to `deliver` until `end` or `cancel(_:)`.
    func answer(
        _ request: APIRequest, deliver: @escaping @Sendable ([UInt8]) -> Void, end: @escaping @Sendable () -> Void
    ) -> Answer {
        do {
            let call = try Call(request)
            return try state.withLock { state throws -> Answer in
                guard let route = call.route else { return .response(try state.special(call)) }
                guard let entry = state.catalog[route.group, route.version, route.plural] else {
                    throw Failure.noSuchPath
                }
                if call.isWatch {
                    let watcher = try call.watcher(entry.resource, route.namespace, deliver, end)
                    do {
                        try state.add(watcher, from: Int(call.query["resourceVersion"] ?? "") ?? 0)
                    } catch let failure as Failure {
                        // A real one answers 200 and then an ERROR event.
                        deliver(Watcher.error(failure))
                        end()
                    }
                    return .watch(watcher)
                }
                let response = try state.perform(call, route, entry)
                if isAutomatic { state.settle() }
                return .response(response)
            }
        } catch let failure as Failure {
            return .response(failure.response)
        } catch {
            return .response(Failure.badRequest("\(error)").response)
        }
    }

    func cancel(_ watcher: Watcher) { state.withLock { $0.watchers[watcher.id] = nil } }

    private func endOldWatches() {
        state.withLock { state in
            let now = Instant.now
            for watcher in state.watchers.values where watcher.deadline <= now {
                if watcher.wantsBookmarks { watcher.deliver(watcher.bookmark(state.revision)) }
                watcher.end()
                state.watchers[watcher.id] = nil
            }
        }
    }
}

func napMs(_ ms: Int) { usleep(UInt32(ms) * 1000) }
