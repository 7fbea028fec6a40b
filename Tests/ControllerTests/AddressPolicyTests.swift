import Testing

@testable import Controller

@Suite struct AddressPolicyTests {
    @Test func namesThatResolveToTheMachineItselfAreRefusedAndNamed() async throws {
        let policy = AddressPolicy()
        for url in ["http://localhost:9000", "http://127.0.0.1/x", "http://[::1]/", "http://169.254.169.254/latest"] {
            await #expect(throws: Refusal.self, "\(url)") { try await policy.check(url: url, field: "endpoint") }
        }
        do throws(Refusal) {
            try await policy.check(url: "http://169.254.169.254", field: "spec.source.http.urls[0]")
            Issue.record("not refused")
        } catch {
            #expect(error.reason == "AddressRefused")
            #expect(error.message.contains("spec.source.http.urls[0]") && error.message.contains("link-local"))
        }
        try await policy.check(url: "http://192.0.2.7:9000", field: "endpoint")
        let allowing = AddressPolicy(allowing: [try #require(AddressRange("127.0.0.0/8"))])
        try await allowing.check(url: "http://127.0.0.1:9000", field: "endpoint")
    }
}
