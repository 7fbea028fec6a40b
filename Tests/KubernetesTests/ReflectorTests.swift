import KubernetesTestSupport
import Testing

@testable import Kubernetes

/// What a reflector told, as a table.
actor Table: ReflectorSink {
    typealias Object = PersistentVolumeClaim
    private(set) var objects: [ObjectKey: PersistentVolumeClaim] = [:]
    private(set) var replacements = 0
    private(set) var updates = 0

    func replaced(with objects: [PersistentVolumeClaim]) {
        self.objects = Dictionary(objects.map { ($0.key, $0) }) { $1 }
        replacements += 1
    }
    func updated(_ object: PersistentVolumeClaim) {
        objects[object.key] = object
        updates += 1
    }
    func removed(_ object: PersistentVolumeClaim) { objects[object.key] = nil }
    var names: [String] { objects.keys.map(\.name).sorted() }
}

@Suite struct ReflectorTests {
    let server = APIServer()
    let table = Table()

    /// Runs a reflector while the body does.
    private func reflecting(
        resyncSeconds: Int = 900, over transport: (any Transport)? = nil, _ body: () async throws -> Void
    )
        async rethrows
    {
        let client = Client(transport: transport ?? DirectTransport(server), fieldManager: "test")
        let reflector = Reflector(client: client, sink: table, resyncSeconds: resyncSeconds, logger: quiet)
        let task = Task { await reflector.run() }
        try await body()
        task.cancel()
        server.stop()
        await task.value
    }

    @Test func followsWhatHappens() async throws {
        let client = Client(server)
        try await client.create(claim("before"))
        try await reflecting {
            await eventually("listed") { await table.names == ["before"] }
            try await client.create(claim("after"))
            try await client.delete(PersistentVolumeClaim.self, "before", namespace: "default")
            await eventually("watched") { await table.names == ["after"] }
        }
    }

    @Test func goesOnWhereABrokenWatchEnded() async throws {
        let client = Client(server)
        try await reflecting {
            await eventually("listed") { await table.replacements == 1 }
            await eventually("watching") { server.callCounts["watch persistentvolumeclaims"] == 1 }
            for i in 0..<5 {
                server.breakWatches()
                try await client.create(claim("c\(i)"))
            }
            await eventually("all seen") { await table.names.count == 5 }
            // Without a second list: each watch went on from the last version.
            #expect(await table.replacements == 1)
        }
    }

    @Test func listsAgainWhenItsVersionIsGone() async throws {
        let client = Client(server)
        try await reflecting {
            await eventually("watching") { server.callCounts["watch persistentvolumeclaims"] == 1 }
            server.inject(Fault(verb: "watch", .lostRequest, count: 2))
            server.breakWatches()
            try await client.create(claim("missed"))
            server.compact()
            await eventually("seen by a list") { await table.names == ["missed"] }
            #expect(await table.replacements >= 2)
        }
    }

    @Test func resyncHealsALostEvent() async throws {
        let client = Client(server)
        try await reflecting(resyncSeconds: 1) {
            await eventually("watching") { server.callCounts["watch persistentvolumeclaims"] == 1 }
            server.dropEvents(1)
            try await client.create(claim("dropped"))
            await eventually("found by the next list") { await table.names == ["dropped"] }
        }
    }

    @Test func bookmarksMoveTheVersionOn() async throws {
        try await reflecting {
            await eventually("watching") { server.callCounts["watch persistentvolumeclaims"] == 1 }
            // Others' changes make the list's version old; a bookmark keeps it usable.
            for i in 0..<3 { server.create(Namespace.resource, ["metadata": ["name": .string("n\(i)")]]) }
            server.sendBookmarks()
            try await Client(server).create(claim("x"))
            await eventually("seen") { await table.names == ["x"] }
            server.compact()
            server.breakWatches()
            await eventually("watching again") { server.callCounts["watch persistentvolumeclaims", default: 0] >= 2 }
            #expect(await table.names == ["x"])
        }
    }

    @Test func worksOverSocketsWithDuplicatedEvents() async throws {
        let socket = try #require(SocketServer(server))
        let transport = CurlTransport(Configuration(server: socket.url))
        let client = Client(transport: transport, fieldManager: "test")
        try await reflecting(over: transport) {
            await eventually("watching") { server.callCounts["watch persistentvolumeclaims"] == 1 }
            server.duplicateEvents(2)
            for i in 0..<20 { try await client.create(claim("c\(i)")) }
            try await client.delete(PersistentVolumeClaim.self, "c7", namespace: "default")
            await eventually("all seen") { await table.names.count == 19 }
            #expect(await table.updates >= 20)
        }
        socket.stop()
    }

    @Test func stateMachineListsAfterExpiryAndRepeatedFailure() {
        var random = SplitMix(seed: 1)
        var state = ReflectorState()
        #expect(state.step == .list)
        state.listed(at: "5")
        state.observed("7")
        #expect(state.step == .watch(from: "7"))
        for _ in 0..<4 {
            _ = state.failed(.network("reset"), using: &random)
            #expect(state.step == .watch(from: "7"))
        }
        _ = state.failed(.network("reset"), using: &random)
        #expect(state.step == .list)
        state.listed(at: "9")
        let expired = APIError(code: 410, reason: "Expired", message: "old")
        let delay = state.failed(expired, using: &random)
        #expect(state.step == .list)
        #expect((1...200).contains(delay))
        var slow = APIError(code: 429, reason: "TooManyRequests", message: "slow down")
        slow.retryAfterSeconds = 3
        #expect(state.failed(slow, using: &random) >= 3000)
    }

    @Test func linesAreCutWhereverTheBytesAre() throws {
        var splitter = LineSplitter()
        let text = Array("{\"a\":1}\n\n{\"b\":2}\n{\"c\"".utf8)
        var lines: [String] = []
        for byte in text { lines += try splitter.add([byte]).map { String(decoding: $0, as: UTF8.self) } }
        #expect(lines == ["{\"a\":1}", "{\"b\":2}"])
        #expect(throws: APIError.self) {
            _ = try splitter.add([UInt8](repeating: 0x20, count: LineSplitter.longest + 1))
        }
    }
}
