/// A URL with http or https, in the parts that links are resolved with.
struct WebAddress: Equatable, Sendable {
    /// "http" or "https".
    var scheme: String
    /// Host and port, in lower case.
    var authority: String
    /// Percent-encoded, from its first slash; "/" where there is none.
    var path: String
    /// Without the "?".
    var query: String?

    /// Nil where it is none, or has a user in it.
    init?(_ text: String) {
        guard let separator = text.firstRange(of: "://") else { return nil }
        scheme = text[..<separator.lowerBound].lowercased()
        guard scheme == "http" || scheme == "https" else { return nil }
        guard text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f && $0 != 0x22 && $0 != 0x5c }) else { return nil }
        let rest = text[separator.upperBound...].prefix { $0 != "#" }
        authority = rest.prefix { $0 != "/" && $0 != "?" }.lowercased()
        guard !authority.isEmpty, !authority.contains("@") else { return nil }
        let tail = rest.dropFirst(authority.count)
        let path = tail.prefix { $0 != "?" }
        self.path = path.isEmpty ? "/" : String(path)
        query = path.endIndex < tail.endIndex ? String(tail[tail.index(after: path.endIndex)...]) : nil
    }

    var text: String { "\(scheme)://\(authority)\(path)" + (query.map { "?\($0)" } ?? "") }
    var origin: String { "\(scheme)://\(authority)" }

    /// What a link on this page means. Nil: nothing that can be fetched.
    func resolve(_ link: String) -> WebAddress? {
        if link.hasPrefix("//") { return WebAddress("\(scheme):\(link)") }
        // A name with a colon in it is written ./a:b; what isn't http or https is refused by the parser.
        if let colon = link.firstIndex(of: ":"), !link[..<colon].contains("/"), !link[..<colon].contains("?") {
            return WebAddress(link)
        }
        if link.isEmpty || link.hasPrefix("#") { return nil }
        if link.hasPrefix("/") { return WebAddress(origin + link) }
        if link.hasPrefix("?") { return WebAddress(origin + path + link) }
        var directory = path[...]
        while let last = directory.last, last != "/" { directory.removeLast() }
        var rest = link[...]
        while rest.hasPrefix("./") { rest = rest.dropFirst(2) }
        return WebAddress(origin + directory + rest)
    }

    /// The address of a name below this one, which ends in a slash.
    func appending(_ name: [UInt8]) -> WebAddress {
        var address = self
        address.path += Percent.encode(name)
        return address
    }
}

/// Percent-encoding of paths.
enum Percent {
    static func encode(_ bytes: some Sequence<UInt8>) -> String {
        let hex = Array("0123456789ABCDEF".utf8)
        var out: [UInt8] = []
        for byte in bytes {
            switch byte {
            case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f, 0x7e, 0x2f: out.append(byte)
            default: out += [UInt8(ascii: "%"), hex[Int(byte >> 4)], hex[Int(byte & 15)]]
            }
        }
        return String(decoding: out, as: UTF8.self)
    }

    static func decode(_ text: some StringProtocol) -> [UInt8] {
        let bytes = Array(text.utf8)
        var out: [UInt8] = []
        var i = 0
        while i < bytes.count {
            if bytes[i] == UInt8(ascii: "%"), i + 2 < bytes.count, let high = digit(bytes[i + 1]),
                let low = digit(bytes[i + 2])
            {
                out.append(high << 4 | low)
                i += 3
            } else {
                out.append(bytes[i])
                i += 1
            }
        }
        return out
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x41...0x46: byte - 0x41 + 10
        case 0x61...0x66: byte - 0x61 + 10
        default: nil
        }
    }
}
