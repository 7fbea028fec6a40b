import Synchronization
import Testing
import Threads

@testable import Curl

@Suite(.serialized) struct HTTPClientTests {
    typealias Answer = Result<HTTPResponse, HTTPError>

    private func send(_ request: HTTPRequest, on thread: TransferThread) throws -> Answer {
        let promise = Promise<Answer>()
        HTTPClient(thread: thread).send(request) { promise.fulfil($0) }
        return try promise.value()
    }

    @Test func sendsARequestAndCollectsTheAnswer() throws {
        let server = ScriptedServer { _, _, connection in
            connection.answer("201 Created", headers: ["X-Thing: one", "x-thing:two "], "hello")
        }
        let thread = TransferThread()
        defer { thread.stop() }
        let request = HTTPRequest(
            "PUT", server.url + "/a//b/../c?q=%20", headers: [("X-A", "1"), ("X-Empty", "")], body: [1, 2])
        let response = try send(request, on: thread).get()
        #expect(response.status == 201)
        #expect(response.body == Array("hello".utf8))
        #expect(response.headers.filter { $0.name == "x-thing" }.map(\.value) == ["one", "two"])
        let seen = try #require(server.seen.first)
        #expect(seen.line == "PUT /a//b/../c?q=%20 HTTP/1.1")
        #expect(seen.body == [1, 2])
        #expect(seen.headers["x-a"] == "1" && seen.headers["x-empty"] == "" && seen.headers["expect"] == nil)
    }

    @Test func streamsABodyAndCanBeCancelledFromItsOwnCallback() throws {
        let server = ScriptedServer { _, _, connection in
            connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            connection.waitForClient()
        }
        let thread = TransferThread()
        defer { thread.stop() }
        let promise = Promise<Answer>()
        let body = Locked<[UInt8]>([])
        let task = Locked<HTTPTask?>(nil)
        let request = HTTPRequest("GET", server.url + "/watch", timeoutMs: 0)
        let gate = Promise<Bool>()
        task.withLock {
            $0 = HTTPClient(thread: thread).stream(
                request, onHead: { #expect($0.status == 200) },
                onBody: { bytes in
                    body.withLock { $0 += bytes }
                    _ = gate.wait(until: Instant.now.advanced(byMs: 10_000))
                    task.withLock { $0?.cancel() }
                }, { promise.fulfil($0) })
        }
        gate.fulfil(true)
        #expect(throws: HTTPError.cancelled) { try promise.value().get() }
        #expect(body.withLock { $0 } == Array("hello".utf8))
    }

    @Test func anAnswerOtherThan2xxIsCollectedAlsoFromAStream() throws {
        let server = ScriptedServer { _, _, connection in connection.answer("410 Gone", "too old") }
        let thread = TransferThread()
        defer { thread.stop() }
        let promise = Promise<Answer>()
        HTTPClient(thread: thread).stream(
            HTTPRequest("GET", server.url), onHead: { _ in Issue.record("no head is due") },
            onBody: { _ in Issue.record("no body is due") }, { promise.fulfil($0) })
        let response = try promise.value().get()
        #expect(response.status == 410 && response.body == Array("too old".utf8))
    }

    @Test func silenceEndsAtItsDeadline() throws {
        let server = ScriptedServer { _, _, connection in connection.waitForClient() }
        let thread = TransferThread()
        defer { thread.stop() }
        #expect(try send(HTTPRequest("GET", server.url, timeoutMs: 100), on: thread).isTimeout)
        var idle = HTTPRequest("GET", server.url, timeoutMs: 0)
        idle.idleTimeoutMs = 100
        #expect(try send(idle, on: thread).isTimeout)
    }

    @Test func refusesWhatWouldWriteHeadersOfItsOwn() throws {
        let thread = TransferThread()
        defer { thread.stop() }
        for request in [
            HTTPRequest("GET", "file:///etc/passwd"), HTTPRequest("GET /", "http://127.0.0.1"),
            HTTPRequest("GET", "http://127.0.0.1/\r\nX: y"),
            HTTPRequest("GET", "http://127.0.0.1/", headers: [("A", "b\r\nC: d")]),
        ] {
            guard case .failure(.invalidRequest) = try send(request, on: thread) else {
                Issue.record("\(request) was not refused")
                continue
            }
        }
    }

    @Test func aBodyBeyondItsLimitFailsAndTheThreadGoesOn() throws {
        let server = ScriptedServer { _, _, connection in
            connection.answer("200 OK", String(repeating: "x", count: 100_000))
        }
        let thread = TransferThread()
        defer { thread.stop() }
        var request = HTTPRequest("GET", server.url)
        request.maxBodyBytes = 1000
        #expect(throws: HTTPError.bodyTooLarge(maxBytes: 1000)) { try send(request, on: thread).get() }
        request.maxBodyBytes = 100_000
        #expect(try send(request, on: thread).get().body.count == 100_000)
    }

    @Test func stoppingTheThreadEndsWhatRuns() throws {
        let server = ScriptedServer { _, _, connection in connection.waitForClient() }
        let thread = TransferThread()
        let promise = Promise<Answer>()
        HTTPClient(thread: thread).send(HTTPRequest("GET", server.url)) { promise.fulfil($0) }
        thread.stop()
        #expect(throws: HTTPError.cancelled) { try promise.value().get() }
    }

    @Test func keepsConnectionsOpenForTheNextRequest() throws {
        let connections = Locked<Set<Int32>>([])
        let server = ScriptedServer { _, _, connection in
            connections.withLock { _ = $0.insert(connection.fd) }
            connection.answer("200 OK", "x")
        }
        let thread = TransferThread()
        defer { thread.stop() }
        for _ in 0..<10 { _ = try send(HTTPRequest("GET", server.url), on: thread).get() }
        #expect(connections.withLock { $0.count } == 1)
        #expect(server.seen.count == 10)
    }
}

extension Result where Success == HTTPResponse, Failure == HTTPError {
    var isTimeout: Bool { if case .failure(.timedOut) = self { true } else { false } }
}
