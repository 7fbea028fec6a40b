/// An S3 key or key prefix: bytes, normally UTF-8, ordered as S3 orders them.
public struct ObjectKey: Hashable, Comparable, Sendable {
    public var bytes: [UInt8]

    public init(_ bytes: [UInt8]) { self.bytes = bytes }
    public init(_ text: String) { bytes = Array(text.utf8) }

    public static func < (a: ObjectKey, b: ObjectKey) -> Bool { a.bytes.lexicographicallyPrecedes(b.bytes) }
}

extension ObjectKey: CustomStringConvertible {
    /// For people: bytes that aren't UTF-8 show as U+FFFD.
    public var description: String { String(decoding: bytes, as: UTF8.self) }
}
