/// A pattern of relative paths: `*` and `?` within a name, `[a-z]` one of some characters, `**` any number of
/// directories. A pattern that matches a directory matches all that is in it.
struct GlobPattern: Sendable, Equatable {
    private let parts: [[UInt8]]

    init(_ text: String) {
        parts = text.split(separator: "/").map { Array($0.utf8) }
    }

    /// Whether a file's path matches, or a directory that it is in.
    func matches(_ path: String) -> Bool {
        Self.matches(parts[...], path.split(separator: "/").map { Array($0.utf8) }[...])
    }

    private static func matches(_ parts: ArraySlice<[UInt8]>, _ names: ArraySlice<[UInt8]>) -> Bool {
        guard let part = parts.first else { return true }
        if part == Array("**".utf8) {
            if parts.count == 1 { return true }
            return (names.startIndex...names.endIndex).contains { matches(parts.dropFirst(), names[$0...]) }
        }
        guard let name = names.first, fits(part[...], name[...]) else { return false }
        return matches(parts.dropFirst(), names.dropFirst())
    }

    /// One name. Goes back to the last `*` only, which is enough, so that no pattern takes long.
    private static func fits(_ pattern: ArraySlice<UInt8>, _ name: ArraySlice<UInt8>) -> Bool {
        var (p, n) = (pattern.startIndex, name.startIndex)
        var retry: (p: Int, n: Int)?
        while n < name.endIndex || p < pattern.endIndex {
            if p < pattern.endIndex, pattern[p] == UInt8(ascii: "*") {
                retry = (p, n)
                p += 1
                continue
            }
            if p < pattern.endIndex, n < name.endIndex, let next = step(pattern, p, name[n]) {
                p = next
                n += 1
                continue
            }
            guard let last = retry, last.n < name.endIndex else { return false }
            retry = (last.p, last.n + 1)
            (p, n) = (last.p + 1, last.n + 1)
        }
        return true
    }

    /// Where the pattern goes on after it took `byte`; nil: it doesn't take it.
    private static func step(_ pattern: ArraySlice<UInt8>, _ at: Int, _ byte: UInt8) -> Int? {
        switch pattern[at] {
        case UInt8(ascii: "?"): return at + 1
        case UInt8(ascii: "["):
            guard let end = pattern[(at + 1)...].dropFirst().firstIndex(of: UInt8(ascii: "]")) else { break }
            var set = pattern[(at + 1)..<end]
            let isNegated = set.first == UInt8(ascii: "!") || set.first == UInt8(ascii: "^")
            if isNegated { set = set.dropFirst() }
            var isIn = false
            while let low = set.popFirst() {
                var high = low
                if set.count >= 2, set.first == UInt8(ascii: "-") {
                    high = set[set.startIndex + 1]
                    set = set.dropFirst(2)
                }
                if low <= byte && byte <= high { isIn = true }
            }
            return isIn != isNegated ? end + 1 : nil
        default: break
        }
        return pattern[at] == byte ? at + 1 : nil
    }
}
