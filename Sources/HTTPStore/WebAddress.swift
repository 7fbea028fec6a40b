import S3

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
        address.path += PercentEncoding.encode(name, keepsSlash: true)
        return address
    }
}
