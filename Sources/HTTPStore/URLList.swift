import S3

/// A list of URLs, each with the path of the file that it becomes.
struct URLList: Equatable, Sendable {
    struct Problem: Error, Equatable { var reason: String }

    /// Sorted by path.
    private(set) var files: [(path: [UInt8], address: WebAddress)] = []

    static let maxFiles = 1_000_000

    /// - Parameters:
    ///   - lines: `URL [path]`; empty ones and those that begin with "#" say nothing. The path's default is the URL's
    ///     last part.
    ///   - base: what relative URLs are relative to; nil: they are refused.
    init(_ lines: some Sequence<String>, relativeTo base: WebAddress?) throws(Problem) {
        var seen: Set<[UInt8]> = []
        for (number, line) in lines.enumerated() {
            let words = line.split(maxSplits: 1, whereSeparator: \.isWhitespace).map(String.init)
            guard let link = words.first, !link.hasPrefix("#") else { continue }
            func wrong(_ why: String) -> Problem { Problem(reason: "line \(number + 1) of the list of URLs \(why)") }
            guard let address = base?.resolve(link) ?? WebAddress(link) else {
                throw wrong("is no URL with http or https (and without a user)")
            }
            var path = PercentEncoding.decodePath(address.path.split(separator: "/").last ?? "")
            if words.count == 2 {
                path = Array(words[1].drop(while: \.isWhitespace).utf8)
                while let last = path.last, last <= 0x20 { path.removeLast() }
            }
            let parts = path.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
            guard parts.allSatisfy({ FileName.isValid(Array($0)) }), path.count <= 1024 else {
                throw wrong("gives no name of a file; write one after the URL")
            }
            guard seen.insert(path).inserted else {
                throw wrong(
                    "gives the name \(String(decoding: path, as: UTF8.self)) for the second time; write another after the URL"
                )
            }
            guard files.count < Self.maxFiles else {
                throw wrong("is one too many: a list has at most \(Self.maxFiles)")
            }
            files.append((path, address))
        }
        files.sort { $0.path.lexicographicallyPrecedes($1.path) }
    }

    static func == (a: URLList, b: URLList) -> Bool {
        a.files.elementsEqual(b.files) { $0.path == $1.path && $0.address == $1.address }
    }

    func address(of path: [UInt8]) -> WebAddress? {
        let at = firstIndex(notBefore: path)
        return at < files.count && files[at].path == path ? files[at].address : nil
    }

    func firstIndex(notBefore path: [UInt8]) -> Int {
        var low = 0
        var high = files.count
        while low < high {
            let middle = (low + high) / 2
            if files[middle].path.lexicographicallyPrecedes(path) { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
