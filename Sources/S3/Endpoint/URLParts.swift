import Curl

/// The parts of "http[s]://host[:port][/path]"; nothing else is a URL here.
struct URLParts: Equatable {
    var isSecure = true
    /// In lower case; an IPv6 address has its brackets.
    var host: String
    var port: Int?
    /// "" or "/…" without a slash at its end.
    var path: String

    init(_ text: String) throws(EndpointError) {
        func wrong(_ why: String) -> EndpointError {
            EndpointError(description: "\"\(Self.shown(text))\" \(why); give it as https://host[:port][/path]")
        }
        var rest = Substring(text)
        if let separator = rest.firstRange(of: "://") {
            switch rest[..<separator.lowerBound].lowercased() {
            case "https": isSecure = true
            case "http": isSecure = false
            case let scheme: throw wrong("begins with \(Self.shown(scheme))://, which is neither http nor https")
            }
            rest = rest[separator.upperBound...]
        }
        if rest.contains("?") || rest.contains("#") { throw wrong("has a query or a fragment") }
        var path = rest.firstIndex(of: "/").map { rest[$0...] } ?? ""
        let authority = rest.prefix { $0 != "/" }
        if authority.contains("@") { throw wrong("has a user name in it") }

        var host = authority
        if authority.hasPrefix("[") {
            guard let end = authority.firstIndex(of: "]") else { throw wrong("has a \"[\" without its \"]\"") }
            host = authority[...end]
            let address = host.dropFirst().dropLast()
            guard address.contains(":"), address.utf8.allSatisfy({ Self.isAddressByte($0) }) else {
                throw wrong("has no IPv6 address between its brackets")
            }
        } else {
            host = authority.prefix { $0 != ":" }
            let isName = host.utf8.allSatisfy {
                HeaderLine.lower($0).isLowerLetterOrDigit || $0 == 0x2D || $0 == 0x2E || $0 == 0x5F
            }
            guard isName else { throw wrong("has a character in its host that no host's name has") }
        }
        if host.isEmpty || host.utf8.count > 255 { throw wrong("has no host, or one of more than 255 bytes") }
        let portText = authority[host.endIndex...]
        if !portText.isEmpty {
            guard portText.first == ":", let port = Int(portText.dropFirst()), (1...65535).contains(port) else {
                throw wrong("has a port that is not a number from 1 to 65535")
            }
            self.port = port
        }
        while path.last == "/" { path = path.dropLast() }
        let isPath = path.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != 0x22 && $0 != 0x5C }
        guard isPath else { throw wrong("has a blank or another character in its path that is to be percent-encoded") }
        self.host = host.lowercased()
        self.path = String(path)
    }

    private static func isAddressByte(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x61...0x66, 0x41...0x46, 0x3A, 0x2E: true
        default: false
        }
    }

    /// For an error: nothing that could be a password, no control characters, no end without end.
    private static func shown(_ text: some StringProtocol) -> String {
        var text = String(text.prefix(200))
        if let at = text.lastIndex(of: "@"), let start = text.firstRange(of: "://")?.upperBound, start < at {
            text.replaceSubrange(start..<at, with: "***")
        }
        return String(text.unicodeScalars.map { $0.value < 0x20 || $0.value == 0x7F ? "?" : Character($0) })
    }
}
