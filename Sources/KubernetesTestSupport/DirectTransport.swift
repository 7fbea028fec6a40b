import Kubernetes

/// Calls a stand-in in the same process, without sockets. Without delays among the faults a call doesn't suspend, so
/// that a simulation in one task is the same every time.
public struct DirectTransport: Transport {
    let server: APIServer
    /// Asked before and after every call; may throw to make a crash at that point. `isDone`: the call was performed.
    public var hook: (@Sendable (_ request: APIRequest, _ isDone: Bool) throws(APIError) -> Void)?

    public init(_ server: APIServer) { self.server = server }

    public func send(_ request: APIRequest) async throws(APIError) -> APIResponse {
        try hook?(request, false)
        let effect = server.admit(request)
        if let refusal = server.refusal(request) { return refusal }
        switch effect {
        case .status(let code, let reason):
            return Failure(code: code, reason: reason, message: "injected").response
        case .lostRequest: throw .network("injected: connection reset")
        case .lostAnswer:
            _ = server.perform(request)
            throw .network("injected: connection reset after the request")
        case .delay(let ms): try? await Task.sleep(for: .milliseconds(ms))
        case nil: break
        }
        let response = server.perform(request)
        try hook?(request, true)
        return response
    }

    public func stream(_ request: APIRequest) async throws(APIError) -> APIStream {
        try hook?(request, false)
        switch server.admit(request) {
        case .status(let code, let reason):
            let response = Failure(code: code, reason: reason, message: "injected").response
            return APIStream(
                status: code, headers: [:],
                body: AsyncThrowingStream { pieces in
                    pieces.yield(response.body)
                    pieces.finish()
                })
        case .lostRequest, .lostAnswer: throw .network("injected: connection reset")
        case .delay(let ms): try? await Task.sleep(for: .milliseconds(ms))
        case nil: break
        }
        let (body, pieces) = AsyncThrowingStream<[UInt8], any Error>.makeStream()
        switch server.answer(request, deliver: { pieces.yield($0) }, end: { pieces.finish() }) {
        case .response(let response):
            pieces.yield(response.body)
            pieces.finish()
            return APIStream(status: response.status, headers: response.headers, body: body)
        case .watch(let watcher):
            pieces.onTermination = { [server] _ in
                // Not from here: termination may be called under the server's lock.
                Task { server.cancel(watcher) }
            }
            return APIStream(status: 200, headers: [:], body: body)
        }
    }
}
