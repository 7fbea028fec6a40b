import Threads

@_exported import struct Curl.AddressPolicy
@_exported import struct Curl.AddressRange
@_exported import struct Curl.IPAddress

extension Refusal {
    public static let addressRefused = "AddressRefused"
}

extension AddressPolicy {
    /// Looks at a URL before anything is made of it. A name counts as all that it resolves to; one that can't be
    /// resolved within `seconds` passes, as every connection is checked again when it is made.
    /// - Parameter field: what the person called it, for the error.
    public func check(url: String, field: String, seconds: Int = 5) async throws(Refusal) {
        guard let host = Self.host(of: url) else {
            throw Refusal(Refusal.addressRefused, "\(field) isn't a URL; give it as https://host[:port][/path]")
        }
        let problem = await Self.addresses(of: host, seconds: seconds).lazy.compactMap { self.problem($0) }.first
        guard let problem else { return }
        throw Refusal(
            Refusal.addressRefused,
            "\(field) leads to \(host): \(problem), which isn't allowed; an administrator can allow it by --allow-address"
        )
    }

    /// The resolver blocks, so it gets a thread of its own; its answer is not waited for beyond the limit.
    private static func addresses(of host: String, seconds: Int) async -> [IPAddress] {
        if let address = IPAddress(host) { return [address] }
        let (answers, sink) = AsyncStream<[IPAddress]>.makeStream()
        _ = Thread("resolve") {
            sink.yield(resolve(host))
            sink.finish()
        }
        let limit = Task {
            try? await Task.sleep(for: .seconds(seconds))
            sink.finish()
        }
        defer { limit.cancel() }
        for await addresses in answers { return addresses }
        return []
    }
}
