import CLinux
import Fuse
import Glibc
import Logging
import PrometheusMetrics
import S3
import SystemPackage
import TestSupport
import Testing
import Threads

@testable import Mount

@Suite("A session changes engines", .serialized, .enabled(if: isMountingPossible(), "needs root and /dev/fuse"))
struct EngineTakeoverTests {
    /// What a keeper holds.
    private final class Kept {
        let device: FileDescriptor
        let memory: FileDescriptor
        let requests: FileDescriptor
        let path: String

        init(_ path: String) throws {
            self.path = path
            device = try Mounter.mount(.init(source: "s3://kept"), at: path)
            memory = FileDescriptor(rawValue: clinux_memory_file("journal-test"))
            requests = FileDescriptor(rawValue: clinux_memory_file("requests-test"))
        }
        func copy() -> FileDescriptor { FileDescriptor(rawValue: fcntl(device.rawValue, F_DUPFD_CLOEXEC, 0)) }
        func legacy() throws -> SessionLegacy {
            try SessionLegacy(journal: memory, requests: requests, logger: quiet)
        }
        deinit {
            try? device.close()
            try? memory.close()
            try? requests.close()
        }
    }

    /// O_DIRECT, which Swift doesn't import.
    #if arch(arm64)
        private static let direct: Int32 = 0x10000
    #else
        private static let direct: Int32 = 0x4000
    #endif

    private func engine(resends: Bool = true) throws -> Engine {
        try Engine(EngineOptions(memoryBytes: 32 << 20, resends: resends), metrics: Registry(), logger: quiet)
    }

    @Test("files stay open with their numbers, directories go on where they were")
    func handover() throws {
        try EngineFixture.with { fixture in
            let store = fixture.store
            for n in 0..<3000 { store.put("many/\(n)", "n\(n)") }
            let body = ObjectBody.generated(size: 9 << 20, seed: 3)
            store.put("a/b/file", body)
            let path = fixture.makeMountPoint("m")
            let kept = try Kept(path)
            var owner = try engine()
            var session = try owner.serve(
                EngineFixture.lasting, store: store, descriptor: kept.copy(), legacy: kept.legacy())

            let fd = open(path + "/a/b/file", O_RDONLY)
            var before = stat()
            #expect(fstat(fd, &before) == 0)
            var seen: Set<String> = []
            let stream = try #require(opendir(path + "/many"))
            while seen.count < 300, let name = nextName(stream) { #expect(seen.insert(name).inserted) }

            for round in 0..<4 {
                #expect(owner.detach(session))
                owner.stop()
                owner = try engine()
                let adopted = try owner.adopt(
                    EngineFixture.lasting, store: store, descriptor: kept.copy(), legacy: kept.legacy())
                session = adopted.session
                #expect(adopted.unanswered == .resent)

                var chunk = [UInt8](repeating: 0, count: 1 << 20)
                let place = UInt64(round + 1) << 20
                #expect(pread(fd, &chunk, chunk.count, off_t(place)) == 1 << 20)
                let same = chunk == body.bytes(in: place..<(place + 1 << 20))
                #expect(same)
                var after = stat()
                #expect(stat(path + "/a/b/file", &after) == 0 && after.st_ino == before.st_ino)
                let target = seen.count + 600
                while seen.count < target, let name = nextName(stream) {
                    #expect(seen.insert(name).inserted, "\(name) came twice")
                }
            }
            while let name = nextName(stream) { #expect(seen.insert(name).inserted, "\(name) came twice") }
            #expect(seen.count == 3002)
            #expect(session.status.openFiles == 1)
            // While somebody answers: the mount stays as long as its connection is kept.
            closedir(stream)
            close(fd)
            #expect(eventually { session.status.openFiles == 0 })
            owner.stop()
        }
    }

    @Test("what an engine had not answered when it ended is answered by the next, and its handles are not lost")
    func cutOff() throws {
        try EngineFixture.with { fixture in
            let store = fixture.store
            for n in 0..<6 { store.put("f\(n)", .generated(size: 2 << 20, seed: UInt64(n))) }
            let path = fixture.makeMountPoint("m")
            let kept = try Kept(path)
            var owner = try engine()
            var session = try owner.serve(
                EngineFixture.fresh, store: store, descriptor: kept.copy(), legacy: kept.legacy())
            store.latencyMs = 4
            let isOver = Locked(false)
            let turns = Locked(0)
            let readers = (0..<6).map { n in
                onThread { () -> String? in
                    let expected = ObjectBody.generated(size: 2 << 20, seed: UInt64(n)).bytes(in: 0..<(2 << 20))
                    while !isOver.withLock({ $0 }) {
                        do {
                            if try contents(path + "/f\(n)") != expected { return "wrong bytes" }
                        } catch { return "\(error)" }
                        turns.withLock { $0 += 1 }
                    }
                    return nil
                }
            }
            for _ in 0..<10 {
                let before = turns.withLock { $0 }
                #expect(eventually { turns.withLock { $0 } > before + 6 })
                // As kill -9 does it, but for the threads: nothing is waited for.
                owner.detach(session, deadline: .now)
                let former = owner
                owner = try engine()
                session = try owner.adopt(
                    EngineFixture.fresh, store: store, descriptor: kept.copy(), legacy: kept.legacy()
                ).session
                former.stop()
            }
            isOver.withLock { $0 = true }
            for reader in readers {
                let outcome = reader.value()
                #expect(outcome == .some(nil), "\(outcome as Any)")
            }
            #expect(eventually { session.status.openFiles == 0 }, "a handle that the kernel never learned of is left")
            owner.stop()
        }
    }

    @Test("where the kernel can't ask again, what is under way fails and leaves no handle; what is open goes on")
    func withoutResend() throws {
        try EngineFixture.with { fixture in
            let store = fixture.store
            store.put("open", "it is")
            // Too large to be fetched by its open: its first GET is a READ's.
            store.put("known", .generated(size: 32 << 20, seed: 1))
            store.put("d/unknown", .generated(size: 1 << 20, seed: 2))
            let path = fixture.makeMountPoint("m")
            let kept = try Kept(path)
            var owner = try engine(resends: false)
            var session = try owner.serve(
                EngineFixture.lasting, store: store, descriptor: kept.copy(), legacy: kept.legacy())
            var known = stat()
            #expect(stat(path + "/known", &known) == 0)
            try withOpen(path + "/open") { fd in
                store.latencyMs = 60_000
                let lists = store.counts.lists
                let readers = [
                    // Past the page cache, which would ask once more for pages that it didn't get.
                    onThread { () -> Errno? in
                        let fd = open(path + "/known", O_RDONLY | Self.direct)
                        defer { close(fd) }
                        var bytes = [UInt8](repeating: 0, count: 65_536)
                        return read(fd, &bytes, bytes.count) < 0 ? Errno(rawValue: errno) : nil
                    },
                    onThread { () -> Errno? in
                        do {
                            _ = try contents(path + "/d/unknown")
                            return nil
                        } catch { return error as? Errno }
                    },
                ]
                // A READ of one and a LOOKUP of the other, which now wait for the bucket.
                #expect(eventually { store.log.contains { $0.operation == .get && $0.key == ObjectKey("known") } })
                #expect(eventually { store.counts.lists > lists })
                owner.detach(session, deadline: .now)
                let former = owner
                owner = try engine(resends: false)
                let adopted = try owner.adopt(
                    EngineFixture.lasting, store: store, descriptor: kept.copy(), legacy: kept.legacy())
                session = adopted.session
                guard case .failed(let uniques) = adopted.unanswered else {
                    Issue.record("asked again")
                    return
                }
                #expect(uniques.count == 2)
                for reader in readers { #expect(reader.value() == .some(.ioError)) }
                store.latencyMs = 0
                try #expect(readAll(fd) == Array("it is".utf8))
                // A close returns before the file system hears of it.
                #expect(eventually { session.status.openFiles == 1 })
                former.stop()
            }
            try #expect(contents(path + "/known").count == 32 << 20)
            try #expect(contents(path + "/d/unknown").count == 1 << 20)
            #expect(eventually { session.status.openFiles == 0 })
            owner.stop()
        }
    }

    @Test("an empty journal can't be adopted")
    func emptyJournal() throws {
        try EngineFixture.with { fixture in
            let kept = try Kept(fixture.makeMountPoint("m"))
            #expect(try kept.legacy().journal.isEmpty)
            #expect(throws: MountError.self) {
                try fixture.engine.adopt(
                    EngineFixture.fresh, store: fixture.store, descriptor: kept.copy(), legacy: kept.legacy())
            }
        }
    }
}

private let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
