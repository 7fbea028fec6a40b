/// Bytes as RFC 4506 has them: numbers of four bytes, big end first, and everything padded to four.
struct XDRWriter {
    private(set) var bytes: [UInt8] = []

    mutating func number(_ value: UInt32) {
        bytes += [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) }
    }

    /// Opaque or string: its length, itself and the padding.
    mutating func opaque(_ value: [UInt8]) {
        number(UInt32(value.count))
        bytes += value
        bytes += [UInt8](repeating: 0, count: (4 - value.count % 4) % 4)
    }
}

struct XDRReader {
    private var rest: ArraySlice<UInt8>

    init(_ bytes: [UInt8]) { rest = bytes[...] }

    /// Bytes that weren't read.
    var left: Int { rest.count }

    /// Nil where the bytes end too soon.
    mutating func number() -> UInt32? {
        guard rest.count >= 4 else { return nil }
        defer { rest = rest.dropFirst(4) }
        return rest.prefix(4).reduce(0) { $0 << 8 | UInt32($1) }
    }

    mutating func opaque() -> [UInt8]? {
        guard let count = number().map(Int.init), count <= rest.count else { return nil }
        let padded = min(rest.count, count + (4 - count % 4) % 4)
        defer { rest = rest.dropFirst(padded) }
        return Array(rest.prefix(count))
    }
}
