import Testing
import Threads

@testable import Curl

@Suite struct AddressPolicyTests {
    private let policy = AddressPolicy()

    @Test(arguments: [
        "127.0.0.1", "127.255.0.3", "0.0.0.0", "169.254.169.254", "100.100.100.200", "224.0.0.1", "255.255.255.255",
        "::1", "::", "fe80::1", "febf::1", "fd00:ec2::254", "ff02::1", "::ffff:169.254.169.254", "::ffff:127.0.0.1",
        "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "::169.254.169.254",
    ])
    func refusesWhatIsOnThisMachineOrLink(_ text: String) throws {
        #expect(policy.problem(try #require(IPAddress(text))) != nil)
    }

    @Test(arguments: [
        "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.253.255.255", "169.255.0.0", "8.8.8.8", "2001:db8::1", "fd00::1",
        "::ffff:10.0.0.1", "fec0::1",
    ])
    func letsOthersThrough(_ text: String) throws {
        #expect(policy.problem(try #require(IPAddress(text))) == nil)
    }

    @Test func aRangeThatIsAllowedIsLetThrough() throws {
        let policy = AddressPolicy(allowing: [try #require(AddressRange("127.0.0.0/8"))])
        #expect(policy.problem(try #require(IPAddress("127.0.0.1"))) == nil)
        #expect(policy.problem(try #require(IPAddress("::ffff:127.0.0.1"))) == nil)
        #expect(policy.problem(try #require(IPAddress("169.254.169.254"))) != nil)
    }

    @Test func rangesAreRead() throws {
        let odd = try #require(AddressRange("10.1.128.0/17"))
        let (inside, outside) = (IPAddress("10.1.129.7")!, IPAddress("10.1.127.7")!)
        #expect(odd.contains(inside) && !odd.contains(outside))
        #expect(AddressRange("10.0.0.0/0")?.contains(IPAddress("8.8.8.8")!) == true)
        #expect(AddressRange("::1")?.description == "::1/128")
        for text in ["", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/x", "host/8", "10.0.0/8", "::/129"] {
            #expect(AddressRange(text) == nil, "\(text)")
        }
    }

    @Test func aURLsHostIsTheOneThatCurlConnectsTo() {
        for (url, host) in [
            ("http://169.254.169.254/latest", "169.254.169.254"), ("http://user:pw@127.0.0.1:80/", "127.0.0.1"),
            ("https://[fe80::1]/", "fe80::1"), ("http://0x7f.1/", "127.0.0.1"), ("http://2130706433/", "127.0.0.1"),
            ("http://%31%32%37.0.0.1/", "127.0.0.1"), ("http://example.org#@127.0.0.1/", "example.org"),
        ] { #expect(AddressPolicy.host(of: url) == host, "\(url)") }
        for url in ["", "http://", "http://a b/", "http://[::1"] {
            #expect(AddressPolicy.host(of: url) == nil, "\(url)")
        }
    }

    @Test func noConnectionIsMadeToARefusedAddressWhateverItsName() throws {
        let server = ScriptedServer { _, _, connection in connection.answer("200 OK", "hello") }
        let thread = TransferThread()
        defer { thread.stop() }
        func send(_ policy: AddressPolicy?, _ host: String) throws -> Result<HTTPResponse, HTTPError> {
            let url = server.url.replacing("127.0.0.1", with: host)
            var request = HTTPRequest("GET", url)
            request.connection.addresses = policy
            let promise = Promise<Result<HTTPResponse, HTTPError>>()
            HTTPClient(thread: thread).send(request) { promise.fulfil($0) }
            return try promise.value()
        }
        for host in ["127.0.0.1", "localhost"] {
            let result = try send(AddressPolicy(), host)
            guard case .failure(.network(let why)) = result else {
                Issue.record("\(host): \(result)")
                continue
            }
            #expect(why.contains("loopback address, which isn't allowed"))
        }
        #expect(server.seen.isEmpty)
        let allowing = AddressPolicy(allowing: [AddressRange("127.0.0.0/8")!])
        #expect(try send(allowing, "127.0.0.1").get().status == 200)
    }
}
