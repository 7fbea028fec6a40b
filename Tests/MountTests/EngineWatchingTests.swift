import Fuse
import Glibc
import SystemPackage
import TestSupport
import Testing
import Threads

@testable import Mount

@Suite("What an engine tells and keeps", .serialized, .enabled(if: isMountingPossible(), "needs root and /dev/fuse"))
struct EngineWatchingTests {
    @Test("a slow request is logged with its operation, key and time; a fast one is not")
    func slowRequests() throws {
        try EngineFixture.with(EngineOptions(memoryBytes: 32 << 20, slowRequestMs: 50)) { fixture in
            fixture.store.put("quick", "x")
            fixture.store.put("slow/one", .generated(size: 20 << 20, seed: 1))
            let (_, path) = try fixture.mount()
            try withOpen(path + "/slow/one") { fd in
                fixture.store.latencyMs = 120
                var byte: UInt8 = 0
                #expect(pread(fd, &byte, 1, 15 << 20) == 1)
            }
            #expect(eventually { fixture.lines.has("A request was slow.", "operation=read", "key=slow/one", "ms=") })
            #expect(!fixture.lines.has("key=quick"))
        }
    }

    @Test("every slow request names its key, also where no file is open")
    func slowRequestsNameTheirKeys() throws {
        try EngineFixture.with(EngineOptions(memoryBytes: 32 << 20, slowRequestMs: 0)) { fixture in
            fixture.store.put("dir/file", "x")
            fixture.store.put("top", "x")
            let (_, path) = try fixture.mount()
            #expect(try names(in: path + "/dir") == ["file"])
            #expect(try contents(path + "/dir/file") == Array("x".utf8))
            var figures = statvfs()
            #expect(statvfs(path, &figures) == 0)
            for (operation, key) in [
                ("lookup", "dir/ "), ("opendir", "dir/ "), ("readdir", "dir/ "), ("releasedir", "dir/ "),
                ("open", "dir/file "), ("read", "dir/file "), ("release", "dir/file "),
            ] {
                #expect(
                    eventually { fixture.lines.has("A request was slow.", "operation=\(operation)", "key=\(key)") },
                    "\(operation)")
            }
            #expect(!fixture.lines.has("key=gone"))
        }
    }

    @Test("an engine at rest gives back the memory that only sped up reading")
    func memoryAtRest() throws {
        try EngineFixture.with(EngineOptions(memoryBytes: 64 << 20, idleMs: 50)) { fixture in
            fixture.store.put("file", .generated(size: 40 << 20, seed: 1))
            let (_, path) = try fixture.mount()
            let held = { () -> Double in
                let line = fixture.registry.render().split(separator: "\n").first {
                    $0.hasPrefix("millrace_cache_memory_bytes ")
                }
                return line.flatMap { Double($0.split(separator: " ")[1]) } ?? -1
            }
            #expect(try contents(path + "/file").count == 40 << 20)
            #expect(eventually { held() >= 0 && held() < 1_048_576 }, "\(held())")
            #expect(try contents(path + "/file").count == 40 << 20)
        }
    }
}
