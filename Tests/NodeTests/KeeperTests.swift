import Glibc
import Testing
import Threads

@testable import Keeper
@testable import NodeProtocol

/// A keeper served in this process, at a path of its own.
private final class TestKeeper {
    let directory: String
    let path: String
    let store = ItemStore()
    let server: FrameServer

    init() throws {
        var template = Array("/tmp/node-keeper-XXXXXX".utf8CString)
        directory = String(cString: try #require(mkdtemp(&template)))
        path = directory + "/keeper.sock"
        server = try FrameServer(path: path, name: "keeper", handler: store)
    }

    deinit {
        server.stop()
        unlink(path + ".lock")
        rmdir(directory)
    }
}

private func record(_ id: String, content: String = "device") throws -> SessionRecord {
    SessionRecord(
        id: id, spec: FieldsTests.spec, connection: 77, initExchange: [1, 2, 3], writtenBy: "test",
        device: try .sealed("device", Array(content.utf8)),
        secrets: try SessionCredentials.anonymous.sealed(), journal: try .memory("journal"))
}

private func descriptorCount() -> Int {
    guard let directory = opendir("/proc/self/fd") else { return -1 }
    defer { closedir(directory) }
    var count = 0
    while readdir(directory) != nil { count += 1 }
    return count
}

@Suite(.serialized) struct KeeperTests {
    @Test func aSessionComesBackWithItsDescriptors() throws {
        let keeper = try TestKeeper()
        do {
            let engine = try KeeperClient(path: keeper.path)
            let first = try record("a")
            try engine.put(first)
            // Shared memory goes on being shared: what is written later is seen by the next engine.
            #expect(write(first.journal.raw, "inode", 5) == 5)
            engine.end()
        }
        let next = try awaitKeeper(keeper.path)
        #expect(try next.list() == ["a"])
        let found = try next.get("a")
        #expect(found.spec == FieldsTests.spec && found.connection == 77 && found.initExchange == [1, 2, 3])
        #expect(try found.device.contents(limit: 100) == Array("device".utf8))
        #expect(try found.journal.contents(limit: 100) == Array("inode".utf8))
        #expect(try SessionCredentials(sealed: found.secrets) == .anonymous)
        try next.remove("a")
        #expect(try next.list().isEmpty)
        #expect(throws: NodeError.refused(.notFound, "nothing is kept as a")) { try next.get("a") }
    }

    /// From a version that had no table of requests, and back to it.
    @Test func aSessionWithoutOneOfTheDescriptorsIsTakenAllTheSame() throws {
        let keeper = try TestKeeper()
        let engine = try KeeperClient(path: keeper.path)
        var session = try record("a")
        try engine.put(session)
        #expect(try engine.get("a").requests == nil)
        session.requests = try .memory("requests")
        try engine.put(session)
        #expect(try engine.get("a").requests != nil)
        #expect(try engine.get("a").journal.contents(limit: 100).isEmpty)
    }

    @Test func aSecondEngineWaitsForTheEndOfTheFirst() throws {
        let keeper = try TestKeeper()
        let first = try KeeperClient(path: keeper.path)
        #expect(throws: NodeError.refused(.busy, "another engine has the sessions")) {
            try KeeperClient(path: keeper.path)
        }
        first.end()
        _ = try awaitKeeper(keeper.path)
    }

    @Test func nobodyTouchesItemsWithoutAcquiring() throws {
        let keeper = try TestKeeper()
        let client = try FrameClient(connectingTo: keeper.path)
        try client.call(Frame(.ping), timeoutMs: 5_000)
        for request in [Frame(.list), KeptItem.named("a", .get), KeptItem.named("a", .remove)] {
            #expect(throws: NodeError.self) { try client.call(request, timeoutMs: 5_000) }
        }
    }

    @Test func garbageEndsOnlyItsConnection() throws {
        let keeper = try TestKeeper()
        let engine = try KeeperClient(path: keeper.path)
        try engine.put(record("a"))
        for seed in 0..<200 {
            let socket = try UnixSocket.connect(to: keeper.path, deadline: .now.advanced(byMs: 5_000))
            var random = SplitMix(seed: UInt64(seed))
            var bytes = (0..<Int(random.next() % 200)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            // Half of them get further: the header is right and what follows isn't.
            if seed % 2 == 0, let valid = try? KeptItem.named("x", .get).encoded() {
                bytes = valid.prefix(Int(random.next() % UInt64(valid.count + 1))) + bytes
            }
            _ = bytes.withUnsafeBytes {
                send(socket.descriptor.raw, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
        }
        #expect(try engine.list() == ["a"])
    }

    @Test func replacedAndRemovedItemsLeakNoDescriptor() throws {
        let keeper = try TestKeeper()
        let engine = try KeeperClient(path: keeper.path)
        try engine.put(record("a"))
        let before = descriptorCount()
        for i in 0..<300 { try engine.put(record("a", content: "\(i)")) }
        for i in 0..<50 { try engine.put(record("b\(i)")) }
        for i in 0..<50 { try engine.remove("b\(i)") }
        // The server's last request may still be ending on its thread.
        #expect(eventually { descriptorCount() <= before })
        #expect(try engine.get("a").device.contents(limit: 10) == Array("299".utf8))
    }

    @Test func aRecordOfALaterFormatIsRefusedAndALaterFieldIsNot() throws {
        var item = try record("a").item
        var fields = try Fields(decoding: item.payload)
        fields.add(1_000, "new")
        item.payload = fields.encoded
        #expect(try SessionRecord(item).spec == FieldsTests.spec)

        var later = Fields()
        later.add(1, SessionRecord.format + 1)
        item.payload = later.encoded
        #expect(throws: NodeError.self) { try SessionRecord(item) }
    }

    @Test func twoServersNeverShareAPath() throws {
        let keeper = try TestKeeper()
        #expect(throws: NodeError.refused(.busy, "another process serves \(keeper.path)")) {
            try FrameServer(path: keeper.path, name: "second", handler: ItemStore())
        }
    }

    @Test func aServerThatDoesNotAnswerIsTimedOut() throws {
        let silent = try TestKeeper()
        silent.server.stop()
        let listener = try UnixSocket.listen(at: silent.path, mode: 0o600)
        let client = try FrameClient(connectingTo: silent.path)
        #expect(throws: NodeError.timedOut("receive")) { try client.call(Frame(.ping), timeoutMs: 50) }
        // Its late answer must not be taken for another's.
        #expect(throws: NodeError.closed) { try client.call(Frame(.ping), timeoutMs: 50) }
        listener.shutDown()
    }

    @Test func argumentsAreChecked() throws {
        let options = try KeeperProgram.parse(["--socket", "/x", "--user", "7:8", "--exit-when-idle", "30"])
        #expect(
            options.socket == "/x" && options.user?.uid == 7 && options.user?.gid == 8 && options.idleExitMs == 30_000)
        for bad in [
            [], ["--socket"], ["--sock", "x"], ["--socket", "x", "--user", "root"],
            ["--socket", "x", "--exit-when-idle", "0"],
        ] {
            #expect(throws: KeeperProgram.UsageError.self) { try KeeperProgram.parse(bad) }
        }
    }

    /// The keeper sees the end of an engine's connection on a thread of its own.
    private func awaitKeeper(_ path: String) throws -> KeeperClient {
        var client: KeeperClient?
        #expect(
            eventually {
                client = try? KeeperClient(path: path)
                return client != nil
            })
        return try #require(client)
    }
}

func eventually(_ condition: () -> Bool) -> Bool {
    let deadline = Instant.now.advanced(byMs: 20_000)
    while !condition() {
        if Instant.now > deadline { return false }
        usleep(2_000)
    }
    return true
}

struct SplitMix: RandomNumberGenerator {
    var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
