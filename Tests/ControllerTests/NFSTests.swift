import Glibc
import Testing
import Threads

@testable import Controller

/// What is said to an NFS server, and what its answers mean; with a real server in `Tests/EndToEnd/cluster`.
@Suite struct NFSTests {
    private func words(_ numbers: [UInt32]) -> [UInt8] {
        var writer = XDRWriter()
        for number in numbers { writer.number(number) }
        return writer.bytes
    }

    @Test func callsAreAsTheRFCsHaveThem() {
        let call = NFSCall.null(version: 4, id: 7)
        #expect(call == words([1 << 31 | 40, 7, 0, 2, 100_003, 4, 0, 0, 0, 0, 0]))
        let lookup = NFSCall.lookup(path: ["data", "iris"], id: 8)
        #expect(lookup.count == 4 + Int(lookup[2]) << 8 + Int(lookup[3]) && lookup.count % 4 == 0)
    }

    @Test func textsArePaddedAndReadBack() {
        for count in 0...9 {
            var writer = XDRWriter()
            writer.opaque([UInt8](repeating: 7, count: count))
            writer.number(42)
            #expect(writer.bytes.count % 4 == 0)
            var reader = XDRReader(writer.bytes)
            #expect(reader.opaque()?.count == count)
            #expect(reader.number() == 42)
            #expect(reader.number() == nil)
        }
        var short = XDRReader([0, 0, 0, 9, 1, 2])
        #expect(short.opaque() == nil)
    }

    @Test func repliesAreUnderstood() {
        #expect(NFSReply(words([1, 1, 0, 0, 0, 0, 5, 6]), to: 1) == .accepted(words([5, 6])))
        #expect(NFSReply(words([1, 1, 0, 0, 0, 2, 3, 3]), to: 1) == .otherVersion)
        #expect(NFSReply(words([1, 1, 0, 0, 0, 1]), to: 1) == .refused("it serves no NFS"))
        #expect(NFSReply(words([1, 1, 1, 1, 5]), to: 1) == .refused("it wants other credentials"))
        #expect(NFSReply(words([2, 1, 0, 0, 0, 0]), to: 1) == .garbled)
        #expect(NFSReply(Array("HTTP/1.1 400 Bad Request".utf8), to: 1) == .garbled)
        #expect(NFSReply([], to: 1) == .garbled)
    }

    @Test func walksAreUnderstood() {
        // status, tag, operations; PUTROOTFH and two LOOKUPs; GETATTR with one word of bitmap and the type.
        let found = words([0, 0, 4, 24, 0, 15, 0, 15, 0, 9, 0, 1, 2, 4, 2])
        #expect(NFSLookup(found, names: 2) == .directory)
        #expect(NFSLookup(words([0, 0, 4, 24, 0, 15, 0, 15, 0, 9, 0, 1, 2, 4, 1]), names: 2) == .notADirectory)
        #expect(NFSLookup(words([2, 0, 3, 24, 0, 15, 0, 15, 2]), names: 2) == .missing(1))
        #expect(NFSLookup(words([2, 0, 2, 24, 0, 15, 2]), names: 2) == .missing(0))
        #expect(NFSLookup(words([13, 0, 2, 24, 0, 15, 13]), names: 2) == .denied)
        #expect(NFSLookup(words([10008, 0, 1, 24, 10008]), names: 2) == .unknown("NFS error 10008"))
        #expect(NFSLookup([1], names: 2) == .unknown("an answer that can't be understood"))
    }

    @Test func badSourcesAreNamed() {
        func problem(_ server: String, _ path: String, _ options: [String] = []) -> String? {
            var source = Dataset.NFSSource(server: server, path: path)
            source.mountOptions = options
            return source.problem
        }
        #expect(problem("nfs.example.com", "/export/course/", ["nfsvers=4.1"]) == nil)
        #expect(problem("fd00::1", "/") == nil)
        #expect(problem("host/x", "/a")?.hasPrefix("server is") == true)
        #expect(problem("", "/a")?.hasPrefix("server is") == true)
        #expect(problem("h", "relative")?.hasPrefix("path is") == true)
        #expect(problem("h", "/a/../b")?.hasPrefix("path is") == true)
        #expect(problem("h", "/a", ["hard,rw"])?.hasPrefix("mountOptions has hard,rw") == true)
    }

    @Test func pathsAreBelowTheExport() {
        let source = Dataset.NFSSource(server: "h", path: "/export/")
        #expect(source.path(below: nil) == "/export")
        #expect(source.path(below: "a/b/") == "/export/a/b")
        #expect(Dataset.NFSSource(server: "h", path: "/").path(below: nil) == "/")
        #expect(Dataset.NFSSource(server: "h", path: "/").path(below: "a") == "/a")
        #expect(source.port == 2049)
        var other = source
        other.mountOptions = ["port=20490", "nfsvers=4.1"]
        #expect(other.port == 20490)
    }

    /// Any bytes at all: an answer, never a crash.
    @Test func whateverComesIsSurvived() {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<20_000 {
            let bytes = (0..<Int.random(in: 0...80, using: &random)).map { _ in
                Bool.random(using: &random) ? 0 : UInt8.random(in: 0...255, using: &random)
            }
            _ = NFSReply(bytes, to: 0)
            _ = NFSLookup(bytes, names: Int.random(in: 0...5, using: &random))
        }
        let odd = NFSLookup([UInt8](repeating: 0xff, count: 100), names: 3)
        #expect(odd == .unknown("an answer that can't be understood"))
    }

    /// A listener that says this to everyone who connects, and nothing more.
    private func listening(_ answer: [UInt8], _ body: (Int) async -> Void) async {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        withUnsafeMutablePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                _ = Glibc.bind(listener, $0, size)
                _ = listen(listener, 8)
                _ = getsockname(listener, $0, &size)
            }
        }
        let thread = Thread("nfs-test") {
            let connection = accept(listener, nil, nil)
            guard connection >= 0 else { return }
            _ = send(connection, answer, answer.count, Int32(MSG_NOSIGNAL))
            // Until the other side has gone.
            var buffer = [UInt8](repeating: 0, count: 4096)
            while recv(connection, &buffer, buffer.count, 0) > 0 {}
            close(connection)
        }
        await body(Int(in_port_t(bigEndian: name.sin_port)))
        shutdown(listener, Int32(SHUT_RDWR))
        thread.join()
        close(listener)
    }

    @Test func whoIsNoNFSServerIsToldFrom() async {
        await listening([]) { port in
            let outcome = await NFSProbe.check(server: "127.0.0.1", path: "/x", port: port, limitMs: 200)
            #expect(outcome == .unreachable("it takes connections and doesn't answer NFS calls"))
        }
        await listening(words([1 << 31 | 8, 9, 9])) { port in
            let outcome = await NFSProbe.check(server: "127.0.0.1", path: "/x", port: port, limitMs: 5_000)
            #expect(outcome == .unreachable("what answers there is no NFS server"))
        }
        // A record that would be two gigabytes.
        await listening(words([.max])) { port in
            let outcome = await NFSProbe.check(server: "127.0.0.1", path: "/x", port: port, limitMs: 5_000)
            #expect(outcome == .unreachable("it takes connections and doesn't answer NFS calls"))
        }
        let nobody = await NFSProbe.check(server: "127.0.0.1", path: "/x", port: 1, limitMs: 5_000)
        #expect(nobody == .unreachable("port 1: Connection refused"))
        let unknown = await NFSProbe.check(server: "no-such-host.invalid", path: "/x", limitMs: 5_000)
        guard case .unreachable(let why) = unknown else { return #expect(Bool(false), "\(unknown)") }
        #expect(why.hasPrefix("its name can't be resolved"))
    }
}
