/// Tagged values: how everything is written that one process of a node sends to another or leaves to its successor.
///
/// An older reader skips tags it doesn't know and a newer one has defaults for those it misses, so a hand-over works
/// from one version to the next and back. On the wire: (tag u16, length u32, bytes)…, little-endian.
public struct Fields: Equatable, Sendable {
    public static let maxBytes = 1 << 20

    private var entries: [(tag: UInt16, bytes: [UInt8])] = []

    public init() {}

    /// Throws `.malformed` where the bytes end inside a field.
    public init(decoding bytes: some RandomAccessCollection<UInt8>) throws(NodeError) {
        let bytes = Array(bytes)
        guard bytes.count <= Self.maxBytes else { throw .malformed("\(bytes.count) bytes of fields") }
        var at = 0
        while at < bytes.count {
            guard bytes.count - at >= 6 else { throw .malformed("a field's header is cut off") }
            let tag = UInt16(bytes[at]) | UInt16(bytes[at + 1]) << 8
            let length = (0..<4).reduce(0) { $0 | Int(bytes[at + 2 + $1]) << (8 * $1) }
            at += 6
            guard length <= bytes.count - at else { throw .malformed("field \(tag) is cut off") }
            entries.append((tag, Array(bytes[at..<at + length])))
            at += length
        }
    }

    public var encoded: [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(entries.reduce(0) { $0 + 6 + $1.bytes.count })
        for (tag, bytes) in entries {
            out.append(UInt8(truncatingIfNeeded: tag))
            out.append(UInt8(truncatingIfNeeded: tag >> 8))
            for shift in stride(from: 0, to: 32, by: 8) { out.append(UInt8(truncatingIfNeeded: bytes.count >> shift)) }
            out += bytes
        }
        return out
    }

    // Writing: a value that is nil is left out. A tag may be added more than once.
    public mutating func add(_ tag: UInt16, _ bytes: [UInt8]?) { if let bytes { entries.append((tag, bytes)) } }
    public mutating func add(_ tag: UInt16, _ text: String?) { add(tag, text.map { Array($0.utf8) }) }
    public mutating func add(_ tag: UInt16, _ flag: Bool) { add(tag, [flag ? 1 : 0] as [UInt8]) }
    public mutating func add(_ tag: UInt16, _ fields: Fields) { add(tag, fields.encoded) }
    public mutating func add(_ tag: UInt16, _ number: Int?) {
        guard let number else { return }
        add(tag, (0..<8).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) })
    }

    // Reading: the first of a tag, or nil.
    public func bytes(_ tag: UInt16) -> [UInt8]? { entries.first { $0.tag == tag }?.bytes }
    public func all(_ tag: UInt16) -> [[UInt8]] { entries.filter { $0.tag == tag }.map(\.bytes) }
    public func text(_ tag: UInt16) -> String? { bytes(tag).map { String(decoding: $0, as: UTF8.self) } }
    public func flag(_ tag: UInt16) -> Bool? { bytes(tag).map { $0.first == 1 } }
    public func number(_ tag: UInt16) -> Int? {
        guard let bytes = bytes(tag), bytes.count == 8 else { return nil }
        return (0..<8).reduce(0) { $0 | Int(bytes[$1]) << (8 * $1) }
    }

    /// The text of a tag that must be there.
    public func required(_ tag: UInt16, _ name: String) throws(NodeError) -> String {
        guard let text = text(tag) else { throw .malformed("\(name) is missing") }
        return text
    }

    public static func == (a: Fields, b: Fields) -> Bool {
        a.entries.elementsEqual(b.entries) { $0.tag == $1.tag && $0.bytes == $1.bytes }
    }
}
