import Glibc
import Kubernetes
import KubernetesTestSupport
import Testing
import Threads

@testable import API

/// What one caller can't do to the others.
@Suite(.serialized) struct LimitTests {
    @Test func aBucketOfTokensFillsUpAgain() {
        var limits = RateLimits(perSecond: 10, burst: 3)
        let start = Instant.now
        for _ in 0..<3 { #expect(limits.take("a", now: start) == nil) }
        #expect(limits.take("a", now: start) == 100)
        #expect(limits.take("b", now: start) == nil)
        #expect(limits.take("a", now: start.advanced(byMs: 50)) == 50)
        #expect(limits.take("a", now: start.advanced(byMs: 101)) == nil)
        #expect(limits.take("a", now: start.advanced(byMs: 101)) != nil)
        // Never more than the burst, however long the pause.
        let later = start.advanced(byMs: 3_600_000)
        for _ in 0..<3 { #expect(limits.take("a", now: later) == nil) }
        #expect(limits.take("a", now: later) != nil)
    }

    @Test func bucketsAreBounded() {
        var limits = RateLimits(perSecond: 1, burst: 2, most: 10)
        let start = Instant.now
        for i in 0..<1000 { #expect(limits.take("caller \(i)", now: start.advanced(byMs: i)) == nil) }
        #expect(limits.count <= 10)
    }

    @Test func whoAsksTooOftenIsToldWhenToComeAgain() async throws {
        let fixture = try Fixture {
            $0.requestsPerSecond = 0.01
            $0.burst = 2
        }
        try await fixture.serving {
            // New tokens of one address are limited as well, with half the burst.
            var statuses: [Int] = []
            for _ in 0..<3 { statuses.append(try await fixture.post("/status", Fixture.name("x")).status) }
            #expect(statuses == [200, 200, 429])
            let reply = try await fixture.post("/status", Fixture.name("x"))
            #expect(reply.status == 429)
            #expect((reply.headers["retry-after"].flatMap { Int($0) } ?? 0) >= 1)
            #expect(reply.body["error"]?.string?.contains("team-user") == true)
            let other = try await fixture.post("/status", Fixture.name("x"), token: "user:fresh")
            #expect(other.status == 429 && other.body["error"]?.string?.contains("new tokens") == true)
        }
    }

    @Test func aBodyThatIsTooLargeIsRefusedWhetherItsLengthIsToldOrNot() async throws {
        let fixture = try Fixture { $0.mostBodyBytes = 2000 }
        try await fixture.serving {
            let large = [UInt8](repeating: UInt8(ascii: " "), count: 3000)
            #expect(try await fixture.send("POST", "/size", raw: large).status == 413)
            let chunked = try await fixture.send(
                "POST", "/size", raw: large, headers: [("Transfer-Encoding", "chunked")])
            #expect(chunked.status == 413)
            #expect(try await fixture.post("/size", fixture.place()).status == 200)
        }
    }

    @Test func onlySoManyRequestsAreAnsweredAtATime() async throws {
        let fixture = try Fixture { $0.mostRequests = 1 }
        try await fixture.serving {
            fixture.s3.configure { $0.listLatencyMs = 3000 }
            async let slow = fixture.post("/size", fixture.place())
            try await eventually("the first is under way") { fixture.s3.counts.requests > 0 }
            let reply = try await fixture.post("/status", Fixture.name("x"))
            #expect(reply.status == 503 && reply.headers["retry-after"] == "1")
            #expect(try await slow.status == 200)
            #expect(try await fixture.post("/status", Fixture.name("x")).status == 200)
        }
    }

    @Test func aRequestThatTricklesInIsCutOff() async throws {
        let fixture = try Fixture { $0.readTimeoutSeconds = 1 }
        try await fixture.serving {
            for head in ["POST /size HTTP/1.1\r\nHost: x\r\n", "POST /size HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"] {
                let port = fixture.service.port!
                // Blocking reads, so on a thread of its own.
                let isClosed = await withCheckedContinuation { continuation in
                    _ = Thread("slow") { continuation.resume(returning: Self.isCutOff(port: port, head)) }
                }
                #expect(isClosed, "\(head)")
            }
            let reply = try await fixture.post("/size", fixture.place())
            #expect(reply.status == 200)
        }
    }

    /// Sends the beginning of a request and waits, for at most 20 seconds, for the server to close the connection.
    private static func isCutOff(port: Int, _ head: String) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var limit = timeval(tv_sec: 20, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
        let isConnected = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
        guard isConnected, send(descriptor, head, head.utf8.count, Int32(MSG_NOSIGNAL)) == head.utf8.count else {
            return false
        }
        var byte: UInt8 = 0
        while true {
            let count = recv(descriptor, &byte, 1, 0)
            if count == 0 { return true }
            if count < 0 { return errno == ECONNRESET }
        }
    }
}
