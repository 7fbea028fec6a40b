/// A file of "[section]" headers and "key = value" lines, as AWS' tools and millrace's own configuration have it.
///
/// "#" and ";" begin a comment at the start of a line, or after a blank. An indented "key = value" under a key without a
/// value belongs to that key: it is found as "key.subkey".
public struct INIFile: Sendable, Equatable {
    public struct Entry: Sendable, Equatable {
        public var key: String
        public var value: String
        /// From 1.
        public var line: Int
    }
    public struct Section: Sendable, Equatable {
        /// "" for what comes before the first header.
        public var name: String
        public var line: Int
        public var entries: [Entry] = []

        /// The last value of a key, as later lines override.
        public func value(_ key: String) -> String? { entries.last { $0.key == key }?.value }
    }

    /// In the order of the file; a name that comes twice is two sections.
    public private(set) var sections: [Section] = []

    public static let maxBytes = 1 << 20

    /// `name` is for errors.
    public init(_ bytes: [UInt8], name: String) throws(INIError) {
        guard bytes.count <= Self.maxBytes else {
            throw INIError(file: name, line: 1, problem: "is longer than \(Self.maxBytes) bytes")
        }
        var current = Section(name: "", line: 1)
        var parent: String?
        for (index, raw) in bytes.split(separator: 0x0A, omittingEmptySubsequences: false).enumerated() {
            func wrong(_ problem: String) -> INIError { INIError(file: name, line: index + 1, problem: problem) }
            guard let text = String(validating: raw, as: UTF8.self) else { throw wrong("is not UTF-8") }
            let content = Self.withoutComment(text)
            if content.isEmpty { continue }
            if content.first == "[" {
                guard content.last == "]" else { throw wrong("begins with \"[\" and has no \"]\" at its end") }
                if current.line > 1 || !current.entries.isEmpty || !current.name.isEmpty { sections.append(current) }
                current = Section(name: Self.trimmed(content.dropFirst().dropLast()), line: index + 1)
                if current.name.isEmpty { throw wrong("has a section without a name") }
                parent = nil
                continue
            }
            guard let equals = content.firstIndex(of: "=") else {
                throw wrong("is neither \"[section]\" nor \"key = value\"")
            }
            var key = Self.trimmed(content[..<equals]).lowercased()
            let value = Self.trimmed(content[content.index(after: equals)...])
            if key.isEmpty { throw wrong("has no key before its \"=\"") }
            let isIndented = text.first == " " || text.first == "\t"
            if isIndented, let parent { key = "\(parent).\(key)" } else { parent = value.isEmpty ? key : nil }
            current.entries.append(Entry(key: key, value: value, line: index + 1))
        }
        if !current.name.isEmpty || !current.entries.isEmpty { sections.append(current) }
    }

    /// All sections of that name as one; nil where there is none.
    public func section(_ name: String) -> Section? {
        let found = sections.filter { $0.name == name }
        guard var first = found.first else { return nil }
        for more in found.dropFirst() { first.entries += more.entries }
        return first
    }

    private static func withoutComment(_ line: String) -> String {
        var previousIsBlank = true
        for (index, character) in zip(line.indices, line) {
            if previousIsBlank && (character == "#" || character == ";") { return trimmed(line[..<index]) }
            previousIsBlank = character == " " || character == "\t"
        }
        return trimmed(line[...])
    }

    private static func trimmed(_ text: Substring) -> String {
        func isBlank(_ scalar: Unicode.Scalar) -> Bool { scalar == " " || scalar == "\t" || scalar == "\r" }
        var text = text.unicodeScalars
        while let first = text.first, isBlank(first) { text = text.dropFirst() }
        while let last = text.last, isBlank(last) { text = text.dropLast() }
        return String(text)
    }
}

/// What is wrong with which line of which file. It never quotes the line, which may be a secret.
public struct INIError: Error, Sendable, Equatable, CustomStringConvertible {
    public var file: String
    public var line: Int
    public var problem: String

    public var description: String { "\(file): line \(line) \(problem)" }
}
