/// Checksums of many files, as `md5sum`, `sha256sum` and their like write them: `HEX  NAME`, `HEX *NAME`,
/// `ALGORITHM:HEX  NAME` or BSD's `ALGORITHM (NAME) = HEX`, one a line; lines that begin with # say nothing.
public struct ChecksumList: Sendable, Equatable {
    /// By path below the destination.
    public private(set) var byPath: [String: [Checksum]] = [:]

    public init() {}

    public init(_ text: String) throws(ChecksumError) {
        for (number, line) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
            if line.allSatisfy(\.isWhitespace) || line.hasPrefix("#") { continue }
            do throws(ChecksumError) {
                let (path, checksum) = try Self.entry(String(line))
                add(checksum, for: path)
            } catch {
                throw ChecksumError("line \(number + 1): \(error)")
            }
        }
    }

    public mutating func add(_ checksum: Checksum, for path: String) {
        let path = path.hasPrefix("./") ? String(path.dropFirst(2)) : path
        byPath[path, default: []].append(checksum)
    }

    public mutating func merge(_ other: ChecksumList) {
        byPath.merge(other.byPath) { $0 + $1 }
    }

    private static func entry(_ line: String) throws(ChecksumError) -> (String, Checksum) {
        if line.hasSuffix(")") == false, let open = line.range(of: " ("),
            let close = line.range(of: ") = ", after: open)
        {
            let name = String(line[open.upperBound..<close.lowerBound])
            return (name, try Checksum("\(line[..<open.lowerBound]):\(line[close.upperBound...])"))
        }
        guard let blank = line.firstIndex(where: \.isWhitespace) else {
            throw ChecksumError("\"\(line.prefix(200))\" has no name; write HEX, two blanks and the file's name")
        }
        var name = line[line.index(after: blank)...]
        // The second character says text (blank) or binary (*).
        if let first = name.first, first == " " || first == "*" { name = name.dropFirst() }
        if name.isEmpty { throw ChecksumError("\"\(line.prefix(200))\" has no name") }
        return (String(name), try Checksum(String(line[..<blank])))
    }
}

extension String {
    /// The first place of `text`.
    fileprivate func range(of text: String, after: Range<String.Index>? = nil) -> Range<String.Index>? {
        var start = after?.upperBound ?? startIndex
        while start < endIndex {
            if self[start...].hasPrefix(text) { return start..<index(start, offsetBy: text.count) }
            start = index(after: start)
        }
        return nil
    }
}
