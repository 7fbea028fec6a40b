import CCurl
import Glibc

/// Which addresses may be reached by URLs that people give: not this machine, and not what is only on this link, where
/// clouds keep the credentials of machines. It holds for what a name resolves to and for every hop of a redirect, as it
/// is asked when a socket is about to connect (`ConnectionOptions.addresses`).
public struct AddressPolicy: Sendable, Equatable {
    /// Ranges that are allowed though they would be refused.
    public var allowed: [AddressRange]

    public init(allowing allowed: [AddressRange] = []) { self.allowed = allowed }

    private static let refused: [(range: AddressRange, what: String)] = [
        ("127.0.0.0/8", "a loopback address"), ("::1/128", "a loopback address"),
        ("0.0.0.0/8", "this machine's own address"), ("::/128", "this machine's own address"),
        ("169.254.0.0/16", "a link-local address"), ("fe80::/10", "a link-local address"),
        // Where AWS, Alibaba, Azure and Oracle answer with credentials.
        ("fd00:ec2::254/128", "a metadata address"), ("100.100.100.200/32", "a metadata address"),
        ("168.63.129.16/32", "a metadata address"), ("192.0.0.192/32", "a metadata address"),
        ("224.0.0.0/4", "a multicast address"), ("ff00::/8", "a multicast address"),
        ("255.255.255.255/32", "the broadcast address"),
    ].map { (AddressRange($0)!, $1) }

    /// What is wrong with an address; nil: it may be reached.
    public func problem(_ address: IPAddress) -> String? {
        if allowed.contains(where: { $0.contains(address) }) { return nil }
        if let found = Self.refused.first(where: { $0.range.contains(address) }) {
            return "\(address) is \(found.what)"
        }
        return address.embedded.flatMap(problem)
    }

    /// The host of a URL as curl reads it, so that a check and the connection never differ: a name, or an address
    /// without brackets. Nil: not a URL that curl would open.
    public static func host(of url: String) -> String? {
        guard let parser = curl_url() else { return nil }
        defer { curl_url_cleanup(parser) }
        guard curl_url_set(parser, CURLUPART_URL, url, UInt32(CURLU_NON_SUPPORT_SCHEME)) == CURLUE_OK else {
            return nil
        }
        var text: UnsafeMutablePointer<CChar>?
        guard curl_url_get(parser, CURLUPART_HOST, &text, 0) == CURLUE_OK, let text else { return nil }
        defer { curl_free(text) }
        let host = String(cString: text)
        return host.hasPrefix("[") ? String(host.dropFirst().prefix { $0 != "]" && $0 != "%" }) : host
    }

    /// All addresses of a name, by the system's resolver. It blocks, for as long as that takes.
    public static func resolve(_ host: String) -> [IPAddress] {
        if let address = IPAddress(host) { return [address] }
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var first: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, nil, &hints, &first) == 0 else { return [] }
        defer { freeaddrinfo(first) }
        var found: [IPAddress] = []
        var next = first
        while let entry = next {
            if let address = entry.pointee.ai_addr.flatMap({ IPAddress($0) }) { found.append(address) }
            next = entry.pointee.ai_next
        }
        return found
    }
}

extension Easy {
    /// Sockets are opened only to addresses that the policy lets through.
    func limit(to policy: AddressPolicy) {
        self.policy = policy
        let context = Unmanaged.passUnretained(self).toOpaque()
        set(CURLOPT_OPENSOCKETDATA, pointer: context)
        let code = ccurl_set_open_socket(handle) { context, _, target in
            let easy = Unmanaged<Easy>.fromOpaque(context!).takeUnretainedValue()
            let offset = MemoryLayout<curl_sockaddr>.offset(of: \.addr)!
            let address = (UnsafeRawPointer(target!) + offset).assumingMemoryBound(to: sockaddr.self)
            if let problem = IPAddress(address).flatMap({ easy.policy?.problem($0) }) {
                easy.refusal = "\(problem), which isn't allowed (see --allow-address)"
                return -1
            }
            let target = target!.pointee
            return socket(target.family, target.socktype | Int32(SOCK_CLOEXEC.rawValue), target.protocol)
        }
        precondition(code == CURLE_OK, "curl refused CURLOPT_OPENSOCKETFUNCTION")
    }
}
